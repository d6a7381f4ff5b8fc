//! A node in stories, and several of them as a model.
