//! What a section found.

use crate::figures::Figure;
use crate::plot::Plot;
use crate::table::Table;

/// Tables for people, figures for the aims, plots for the document.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) tables: Vec<Table>,
    pub(crate) figures: Vec<Figure>,
    pub(crate) plots: Vec<Plot>,
}

impl Report {
    /// The tables in Markdown.
    pub(crate) fn text(&self) -> String {
        let tables: Vec<String> = self.tables.iter().map(Table::markdown).collect();
        tables.join("\n")
    }
}
