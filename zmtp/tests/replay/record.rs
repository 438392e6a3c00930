//! Reading of the recordings.

use std::path::PathBuf;

use serde_json::Value;

/// A piece of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// The number of the connection within the scenario.
    pub(crate) connection: usize,
    pub(crate) from_client: bool,
    /// Microseconds since the first connection began.
    pub(crate) at: u64,
    /// Empty: that side ended its stream.
    pub(crate) bytes: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) server: String,
    pub(crate) client: String,
    index: Value,
    /// Of all connections, in order of time.
    pub(crate) lines: Vec<Line>,
    pub(crate) connections: usize,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

pub(crate) fn scenarios() -> Vec<Scenario> {
    let index: Value = serde_json::from_str(&read("index.json")).expect("an index");
    index.as_array().expect("a list").iter().map(scenario).collect()
}

fn scenario(index: &Value) -> Scenario {
    let text = |key: &str| index[key].as_str().expect("text").to_owned();
    let mut lines = Vec::new();
    let files = index["files"].as_array().expect("files");
    for (connection, file) in files.iter().enumerate() {
        for line in read(file.as_str().expect("a name")).lines() {
            let line: Value = serde_json::from_str(line).expect("a line");
            lines.push(Line {
                connection,
                from_client: line["dir"] == "c2s",
                at: line["t_us"].as_u64().expect("a time"),
                bytes: unhex(line["hex"].as_str().expect("hex")),
            });
        }
    }
    lines.sort_by_key(|line| line.at);
    let (name, server, client) = (text("name"), text("server"), text("client"));
    Scenario { name, server, client, index: index.clone(), lines, connections: files.len() }
}

impl Scenario {
    /// The options of one side: name (or number) and value.
    pub(crate) fn options(&self, is_client: bool) -> Vec<(String, Value)> {
        let key = if is_client { "client_options" } else { "server_options" };
        let pairs = self.index[key].as_array().cloned().unwrap_or_default();
        pairs
            .into_iter()
            .map(|pair| (pair[0].to_string().trim_matches('"').to_owned(), pair[1].clone()))
            .collect()
    }

    /// Messages that one side's application received, in order: their parts, long ones by their length.
    pub(crate) fn delivered(&self, who: &str) -> Vec<Vec<String>> {
        let key = format!("delivered_to_{who}");
        if let Some(messages) = self.index[&key].as_array() {
            return messages.iter().map(parts).collect();
        }
        let Some(steps) = self.index["steps"].as_array() else { return Vec::new() };
        let mine = steps.iter().filter(|step| step["who"] == who && step["do"] == "recv");
        mine.map(|step| &step["result"]).filter(|result| result.is_array()).map(parts).collect()
    }

    /// The events of a side's connections: names, and their numbers.
    fn events(&self, who: &str) -> Vec<(String, u64)> {
        let events = self.index[format!("{who}_events")].as_array().cloned().unwrap_or_default();
        let text = |event: &Value| event[0].as_str().unwrap_or_default().to_owned();
        events.iter().map(|event| (text(event), event[1].as_u64().unwrap_or_default())).collect()
    }

    /// Whether that side reported a violation by its peer. `None`: possibly, or the other side was faster.
    pub(crate) fn finds_fault(&self, who: &str) -> Option<bool> {
        if let Some(outcome) = self.index["outcome"].as_str() {
            return Some(outcome == "closed by libzmq");
        }
        if self.name.starts_with("mismatch_") {
            return None;
        }
        // A message that is too long closes the connection without an event of its own.
        let too_long = self.name == "null_maxmsgsize" && who == "server";
        let failed = |(name, number): &(String, u64)| match name.as_str() {
            "HANDSHAKE_FAILED_PROTOCOL" | "HANDSHAKE_FAILED_AUTH" => true,
            // It took too long, or there is no authenticator. Other numbers: the peer closed.
            "HANDSHAKE_FAILED_NO_DETAIL" => [11, 14].contains(number),
            _ => false,
        };
        Some(too_long || self.events(who).iter().any(failed))
    }
}

#[cfg(feature = "curve")]
impl Scenario {
    /// Data of a connection with CURVE: keys and the content of its boxes.
    pub(crate) fn opened(&self, connection: usize, what: &str) -> Option<Vec<u8>> {
        Some(unhex(self.index["opened"][connection][what].as_str()?))
    }
}

fn parts(message: &Value) -> Vec<String> {
    let list = if message[0].is_array() { &message[0] } else { message };
    list.as_array().expect("parts").iter().map(|part| printed(part.as_str().expect("a part"))).collect()
}

/// The index usually contains long parts by their length and first bytes.
fn printed(part: &str) -> String {
    match part.split_once(" bytes") {
        Some((length, _)) => format!("{length} bytes"),
        None if part.len() > 80 => format!("{} bytes", part.len() / 2),
        None => part.to_owned(),
    }
}
