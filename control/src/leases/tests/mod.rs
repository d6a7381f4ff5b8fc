mod broken;
mod files;
mod nonces;
mod sim;
mod waiting;
