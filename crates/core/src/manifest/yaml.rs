//! YAML text as JSON values.
//!
//! Guarantees: a key that stands twice is refused; lines in errors are lines of the file.

use serde_json::{Map, Number, Value};
use serde_yaml_ng::Value as Yaml;

use super::split::Chunk;
use crate::reader::Fault;

const REMEDY: &str = "correct the YAML; the other documents of the file are not affected";

/// Why a text is not YAML, and on which line.
pub(super) struct Broken {
    pub(super) line: usize,
    pub(super) fault: Fault,
}

/// The value of a document.
pub(super) fn read(chunk: &Chunk<'_>) -> Result<Value, Broken> {
    let at_start = |message: String| Broken { line: chunk.start, fault: fault(message) };
    let mut yaml: Yaml = serde_yaml_ng::from_str(chunk.text).map_err(|error| located(chunk, &error))?;
    yaml.apply_merge().map_err(|error| at_start(error.to_string()))?;
    json(yaml).map_err(at_start)
}

fn fault(message: String) -> Fault {
    Fault::invalid("document", message, REMEDY)
}

/// The text is read once more behind as many empty lines as precede it in the file, so that every line
/// number in the message is one of the file.
fn located(chunk: &Chunk<'_>, error: &serde_yaml_ng::Error) -> Broken {
    let padded = "\n".repeat(chunk.first - 1) + chunk.text;
    let again = serde_yaml_ng::from_str::<Yaml>(&padded).err();
    let error = again.as_ref().unwrap_or(error);
    let line = error.location().map_or(chunk.start, |l| l.line());
    Broken { line, fault: fault(format!("is not YAML: {error}")) }
}

fn json(yaml: Yaml) -> Result<Value, String> {
    Ok(match yaml {
        Yaml::Null => Value::Null,
        Yaml::Bool(b) => Value::Bool(b),
        Yaml::String(text) => Value::String(text),
        Yaml::Number(number) => Value::Number(json_number(&number)?),
        Yaml::Sequence(list) => Value::Array(list.into_iter().map(json).collect::<Result<_, _>>()?),
        Yaml::Mapping(map) => Value::Object(map.into_iter().map(pair).collect::<Result<Map<_, _>, _>>()?),
        Yaml::Tagged(tagged) => return Err(format!("has the tag {}, which has no meaning here", tagged.tag)),
    })
}

fn pair((key, value): (Yaml, Yaml)) -> Result<(String, Value), String> {
    match key {
        Yaml::String(key) => Ok((key, json(value)?)),
        other => Err(format!("has the key {other:?}, which is not text; put it in quotes")),
    }
}

fn json_number(number: &serde_yaml_ng::Number) -> Result<Number, String> {
    let whole = number.as_u64().map(Number::from).or_else(|| number.as_i64().map(Number::from));
    let found = whole.or_else(|| number.as_f64().and_then(Number::from_f64));
    found.ok_or_else(|| format!("has the number {number}, which has no meaning here"))
}
