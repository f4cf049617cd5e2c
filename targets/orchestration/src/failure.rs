//! Indices of the failure categories, and their names.

pub const INFRASTRUCTURE: u8 = 0;
pub const CONFIGURATION: u8 = 1;
pub const APPLICATION: u8 = 2;
pub const POISON: u8 = 3;
pub const TIMEOUT: u8 = 4;
pub const CLIENT: u8 = 5;
pub const WRONG_OUTPUT: u8 = 6;
pub const NAMES: [&str; 7] =
    ["infrastructure", "configuration", "application", "poison", "timeout", "client error", "wrong output"];
