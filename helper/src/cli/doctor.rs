//! Command line of `doctor`.

use std::path::PathBuf;

use lexopt::prelude::*;
use sortie_core::ids::{self, Numbers};

use super::{Command, Flags, Format, UsageError, apart, format};

/// Text of `doctor --help`.
pub(crate) const HELP: &str = "\
sortie-helper doctor: what keeps this node from doing its part, what it means, and what to do; changes nothing

usage: sortie-helper doctor [-o text|json] [flags]

  -o, --output text|json   for people, or for scripts   [text]
  --socket PATH            socket of the helper, which need not run   [/run/sortie/helper.sock]
  --cni-conf-dir DIR       where the runtime looks for the configuration   [/etc/cni/net.d]
  --cni-bin-dir DIR        where the runtime looks for plugins   [/opt/cni/bin]
  --peer-key-file PATH     the helpers' secret   [/etc/sortie/peer/key, if it is there]
  --root DIR               the node's root, for its systemd   [/]
  --table-range, --packet-mark, --ct-mark, --return-mark, --node-mark
                           as the helper has them, with the same defaults

exit status: 0 nothing prevents the work, 1 something does, or no answer; 2 wrong usage
";

/// Options of `doctor`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DoctorOptions {
    pub(crate) socket: PathBuf,
    pub(crate) format: Format,
    pub(crate) numbers: Numbers,
    pub(crate) conf_dir: PathBuf,
    pub(crate) bin_dir: PathBuf,
    pub(crate) peer_key_file: Option<PathBuf>,
    pub(crate) root: PathBuf,
}

/// Flags that are those of `run`.
const SHARED: [&str; 5] = ["table-range", "packet-mark", "ct-mark", "return-mark", "node-mark"];

pub(super) fn parse(parser: &mut lexopt::Parser) -> Result<Command, UsageError> {
    let [conf_dir, bin_dir] = super::install::DIRECTORIES.map(PathBuf::from);
    let mut shared = Flags::default();
    let mut options = DoctorOptions {
        socket: ids::SOCKET.into(),
        format: Format::Text,
        numbers: Numbers::default(),
        conf_dir,
        bin_dir,
        peer_key_file: None,
        root: "/".into(),
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::DoctorHelp),
            Short('o') | Long("output") => options.format = format(&parser.value()?.string()?)?,
            Long("socket") => options.socket = parser.value()?.into(),
            Long("cni-conf-dir") => options.conf_dir = parser.value()?.into(),
            Long("cni-bin-dir") => options.bin_dir = parser.value()?.into(),
            Long("peer-key-file") => options.peer_key_file = Some(parser.value()?.into()),
            Long("root") => options.root = parser.value()?.into(),
            Long(name) if SHARED.contains(&name) => {
                let name = name.to_owned();
                let text = parser.value()?.string()?;
                shared.take(&name, text)?;
            }
            other => return Err(other.unexpected().into()),
        }
    }
    apart(&shared.numbers)?;
    options.numbers = shared.numbers;
    Ok(Command::Doctor(options))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn parsed(line: &str) -> Result<Command, UsageError> {
        super::super::parse(format!("doctor {line}").split_whitespace().map(OsString::from))
    }

    #[test]
    fn marks_are_those_of_the_helper_and_are_judged_as_its_own() {
        let Ok(Command::Doctor(options)) = parsed("--packet-mark 0x3f000000 --cni-conf-dir /c -o json") else {
            panic!()
        };
        assert_eq!(
            (options.numbers.packet_mark.0, options.conf_dir, options.format),
            (0x3f00_0000, "/c".into(), Format::Json)
        );
        for (line, flag) in [("--packet-mark 0x3", "--packet-mark"), ("--node x", "--node"), ("-o yaml", "-o")] {
            assert!(parsed(line).expect_err(line).to_string().contains(flag), "{line}");
        }
        assert_eq!(parsed("-h").unwrap(), Command::DoctorHelp);
    }
}
