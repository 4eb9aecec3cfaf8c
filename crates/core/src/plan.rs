//! The steps from observed to desired.
