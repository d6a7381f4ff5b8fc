mod broken;
mod nonces;
mod sim;
mod waiting;
