//! What each number of `rules` means, and a naive model that must agree.

mod cases;
mod ends;
mod model;
mod path_mtu;
mod path_prober;
mod probing;
