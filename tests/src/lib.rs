//! End-to-end tests of Sortie.
