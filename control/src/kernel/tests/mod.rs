//! Tests against the real kernel, in namespaces of their own. They need root and say so when they do not have it.
