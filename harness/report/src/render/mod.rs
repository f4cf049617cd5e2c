//! A document in the forms that people and programs read.

pub mod html;
pub mod markdown;
pub mod terminal;
