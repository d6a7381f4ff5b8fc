mod broken;
mod files;
mod nonces;
pub(super) mod sim;
mod waiting;
