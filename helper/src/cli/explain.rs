//! Command line of `explain`.

use std::net::IpAddr;
use std::path::PathBuf;

use lexopt::prelude::*;
use sortie_core::explain::{Question, Transport};
use sortie_core::ids;
use sortie_core::model::ObjectName;

use super::{Command, Format, UsageError, format, value};

/// Text of `explain --help`.
pub(crate) const HELP: &str = "\
sortie-helper explain: what becomes of the first packet of a flow of a pod on this node, and why

usage: sortie-helper explain --pod NAMESPACE/NAME --protocol PROTOCOL --destination ADDRESS[:PORT]
                             [--source-port PORT] [--socket PATH] [-o text|json]

  --pod NAMESPACE/NAME           the pod; one without namespace is in default
  --protocol PROTOCOL            tcp | udp | sctp | icmp
  --destination ADDRESS[:PORT]   the far end: 203.0.113.5, 203.0.113.5:53, 2001:db8::1 or [2001:db8::1]:53
  --source-port PORT             the pod's own port   [one that no object names]
  --socket PATH                  socket of the helper   [/run/sortie/helper.sock]
  -o, --output text|json         for people, or for scripts   [text]

exit status: 0 answered, whatever becomes of the packet; 1 no answer; 2 wrong usage
";

/// Longest name of a namespace or pod.
const NAME_MAX: usize = 253;

/// Options of `explain`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ExplainOptions {
    pub(crate) question: Question,
    pub(crate) socket: PathBuf,
    pub(crate) format: Format,
}

/// Flags as they come.
#[derive(Default)]
struct Flags {
    pod: Option<ObjectName>,
    protocol: Option<Transport>,
    source_port: Option<u16>,
    destination: Option<(IpAddr, Option<u16>)>,
    socket: Option<PathBuf>,
    format: Option<Format>,
}

pub(super) fn parse(parser: &mut lexopt::Parser) -> Result<Command, UsageError> {
    let mut flags = Flags::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::ExplainHelp),
            Long("pod") => flags.pod = Some(pod(&parser.value()?.string()?)?),
            Long("protocol") => flags.protocol = Some(protocol(&parser.value()?.string()?)?),
            Long("source-port") => flags.source_port = Some(port("--source-port", &parser.value()?.string()?)?),
            Long("destination") => flags.destination = Some(destination(&parser.value()?.string()?)?),
            Long("socket") => flags.socket = Some(parser.value()?.into()),
            Short('o') | Long("output") => flags.format = Some(format(&parser.value()?.string()?)?),
            other => return Err(other.unexpected().into()),
        }
    }
    flags.into_command()
}

impl Flags {
    fn into_command(self) -> Result<Command, UsageError> {
        let missing = |flag, remedy| value(flag, "is required".to_owned(), remedy);
        let pod = self.pod.ok_or_else(|| missing("--pod", "give it as NAMESPACE/NAME"))?;
        let protocol = self.protocol.ok_or_else(|| missing("--protocol", "use tcp, udp, sctp or icmp"))?;
        let (destination, destination_port) =
            self.destination.ok_or_else(|| missing("--destination", "give an address, with or without port"))?;
        if protocol == Transport::Icmp && (self.source_port.is_some() || destination_port.is_some()) {
            let flag = if self.source_port.is_some() { "--source-port" } else { "--destination" };
            return Err(value(flag, "ICMP has no ports".to_owned(), "leave the port out"));
        }
        let question = Question { pod, protocol, source_port: self.source_port, destination, destination_port };
        let socket = self.socket.unwrap_or_else(|| ids::SOCKET.into());
        Ok(Command::Explain(ExplainOptions { question, socket, format: self.format.unwrap_or(Format::Text) }))
    }
}

fn pod(text: &str) -> Result<ObjectName, UsageError> {
    let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
    if is_name(namespace) && is_name(name) {
        return Ok(ObjectName { namespace: namespace.to_owned(), name: name.to_owned() });
    }
    let remedy = "write it as NAMESPACE/NAME, of lower-case letters, digits, '-' and '.'";
    Err(value("--pod", format!("{text:?} is not the name of a pod"), remedy))
}

/// As Kubernetes wants names of objects.
fn is_name(text: &str) -> bool {
    let is_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let is_inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    text.len() <= NAME_MAX
        && is_end(text.chars().next())
        && is_end(text.chars().next_back())
        && text.chars().all(is_inside)
}

fn protocol(text: &str) -> Result<Transport, UsageError> {
    match text.to_ascii_lowercase().as_str() {
        "tcp" => Ok(Transport::Tcp),
        "udp" => Ok(Transport::Udp),
        "sctp" => Ok(Transport::Sctp),
        "icmp" | "icmpv6" => Ok(Transport::Icmp),
        _ => Err(value("--protocol", format!("{text:?} is unknown"), "use tcp, udp, sctp or icmp")),
    }
}

fn port(flag: &'static str, text: &str) -> Result<u16, UsageError> {
    let number = text.parse::<u16>().ok().filter(|port| *port != 0 && !text.starts_with('+'));
    number.ok_or_else(|| value(flag, format!("{text:?} is no port"), "give a number from 1 to 65535"))
}

/// `1.2.3.4`, `1.2.3.4:5`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:5`.
fn destination(text: &str) -> Result<(IpAddr, Option<u16>), UsageError> {
    let flag = "--destination";
    let refused = || {
        let remedy = "write 203.0.113.5, 203.0.113.5:53, 2001:db8::1 or [2001:db8::1]:53; names are not looked up";
        value(flag, format!("{text:?} is no address"), remedy)
    };
    let (address, rest) = match text.strip_prefix('[').map(|inside| inside.split_once(']')) {
        Some(Some((inside, rest))) if inside.contains(':') => {
            (inside, rest.strip_prefix(':').map_or((rest, None), |p| ("", Some(p))))
        }
        Some(_) => return Err(refused()),
        None => match text.split_once(':') {
            Some((address, port)) if !port.contains(':') => (address, ("", Some(port))),
            _ => (text, ("", None)),
        },
    };
    let ("", port_text) = rest else { return Err(refused()) };
    let address: IpAddr = address.parse().map_err(|_| refused())?;
    if matches!(address, IpAddr::V6(six) if six.to_ipv4_mapped().is_some()) {
        return Err(value(flag, format!("{text:?} is an IPv4 address in IPv6 form"), "write it as IPv4"));
    }
    if address.is_unspecified() {
        return Err(value(flag, format!("{text:?} is nobody's address"), "give the address of the far end"));
    }
    Ok((address, port_text.map(|text| port(flag, text)).transpose()?))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn parsed(line: &str) -> Result<Command, UsageError> {
        super::super::parse(format!("explain {line}").split_whitespace().map(OsString::from))
    }

    #[test]
    fn addresses_of_both_families_take_a_port() {
        for (text, address, port) in [
            ("203.0.113.5", "203.0.113.5", None),
            ("203.0.113.5:5060", "203.0.113.5", Some(5060)),
            ("2001:db8::1", "2001:db8::1", None),
            ("[2001:db8::1]", "2001:db8::1", None),
            ("[2001:db8::1]:53", "2001:db8::1", Some(53)),
        ] {
            assert_eq!(destination(text).unwrap(), (address.parse().unwrap(), port), "{text}");
        }
    }

    #[test]
    fn what_is_no_packet_is_refused_with_its_flag_and_a_remedy() {
        let rest = "--pod core/sip --protocol udp --destination 203.0.113.5";
        for (line, flag, word) in [
            ("--protocol udp --destination 192.0.2.1", "--pod", "NAMESPACE/NAME"),
            ("--pod a/b --destination 192.0.2.1", "--protocol", "tcp, udp, sctp or icmp"),
            ("--pod a/b --protocol udp", "--destination", "address"),
            ("--pod a/b/c", "--pod", "NAMESPACE/NAME"),
            ("--pod /b", "--pod", "NAMESPACE/NAME"),
            ("--pod a/", "--pod", "NAMESPACE/NAME"),
            ("--pod A/b", "--pod", "lower-case"),
            ("--pod a/../b", "--pod", "lower-case"),
            ("--protocol igmp", "--protocol", "igmp"),
            ("--source-port 0", "--source-port", "1 to 65535"),
            ("--source-port 65536", "--source-port", "1 to 65535"),
            ("--source-port -1", "--source-port", "1 to 65535"),
            ("--source-port +5", "--source-port", "1 to 65535"),
            ("--destination 2001:db8::1:99999", "--destination", "[2001:db8::1]:53"),
            ("--destination [2001:db8::1]:99999", "--destination", "1 to 65535"),
            ("--destination [2001:db8::1]53", "--destination", "[2001:db8::1]:53"),
            ("--destination [2001:db8::1", "--destination", "[2001:db8::1]:53"),
            ("--destination [192.0.2.1]:5", "--destination", "203.0.113.5:53"),
            ("--destination 192.0.2.1:", "--destination", "1 to 65535"),
            ("--destination 192.0.2.300", "--destination", "203.0.113.5"),
            ("--destination example.org", "--destination", "names are not looked up"),
            ("--destination ::ffff:192.0.2.1", "--destination", "IPv4"),
            ("--destination 0.0.0.0", "--destination", "far end"),
            ("-o xml", "-o", "text or json"),
            ("--pod a/b --protocol icmp --destination 192.0.2.1 --source-port 5", "--source-port", "no ports"),
            ("--pod a/b --protocol icmp --destination 192.0.2.1:5", "--destination", "no ports"),
            ("--nod x", "--nod", "--help"),
        ] {
            let refusal = parsed(line).expect_err(line).to_string();
            assert!(refusal.contains(flag) && refusal.contains(word), "{line}: {refusal}");
        }
        let Ok(Command::Explain(options)) = parsed(rest) else { panic!() };
        assert_eq!((options.question.pod.to_string().as_str(), options.question.source_port), ("core/sip", None));
        assert_eq!(parsed("--help").unwrap(), Command::ExplainHelp);
    }
}
