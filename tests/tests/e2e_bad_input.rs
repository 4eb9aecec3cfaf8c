//! Bad input: an error that names object, field and remedy, and nothing that works stops working.

#[path = "bad_input/helper.rs"]
mod helper;
#[path = "bad_input/plugin.rs"]
mod plugin;
#[path = "bad_input/wishes.rs"]
mod wishes;
