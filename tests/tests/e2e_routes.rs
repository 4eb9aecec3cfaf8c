//! Chosen traffic of a pod leaves by its route, everything else the old way.

#[path = "routes/selection.rs"]
mod selection;
