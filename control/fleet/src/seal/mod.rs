//! Records that only nodes of the fleet can read, and that nobody else can make.
