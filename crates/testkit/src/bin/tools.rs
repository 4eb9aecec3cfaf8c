//! Builds the programs the tests drive: all of them, or those named.

use anyhow::{Result, bail};
use sortie_testkit::tools::{Group, ensure};

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted.iter().find(|name| Group::ALL.iter().all(|group| group.name() != *name)) {
        bail!("no tools {unknown:?}; there are {}", Group::ALL.map(Group::name).join(", "));
    }
    for group in Group::ALL {
        if wanted.is_empty() || wanted.iter().any(|name| name == group.name()) {
            ensure(group)?;
        }
    }
    Ok(())
}
