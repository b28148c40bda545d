//! A Chromium that is told what to do over a pipe, in its `DevTools` protocol.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// What scripts may use beside the page's own.
const TOOLS: &str = include_str!("scripts/tools.js");

/// What the page is looked at with.
#[derive(Clone, Copy)]
pub(super) struct Device {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) dark: bool,
}

/// A browser with one page.
pub(super) struct Browser {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    session: String,
    num_calls: u64,
    complaints: Vec<String>,
}

impl Browser {
    /// Starts a browser with an empty page; it keeps its files in the folder `profile`.
    pub(super) fn start(program: &str, profile: &Path) -> Result<Self> {
        if profile.exists() {
            std::fs::remove_dir_all(profile)?;
        }
        // The protocol is spoken over the descriptors 3 and 4.
        let script = "exec \"$0\" \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null 2>/dev/null";
        let mut child = Command::new("sh")
            .args(["-c", script, program])
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--remote-debugging-pipe", "--no-first-run"])
            .args(super::CAMERA)
            .arg(format!("--user-data-dir={}", profile.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the browser")?;
        let input = child.stdin.take().context("piped")?;
        let output = BufReader::new(child.stdout.take().context("piped")?);
        let mut browser = Self {
            child,
            input,
            output,
            session: String::new(),
            num_calls: 0,
            complaints: Vec::new(),
        };
        let made = browser.call("Target.createTarget", &json!({"url": "about:blank"}))?;
        let target = json!({"targetId": made["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", &target)?;
        browser.session = attached["sessionId"].as_str().context("a session")?.into();
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.call(domain, &json!({}))?;
        }
        Ok(browser)
    }

    /// Sets the size of the screen and the colours that its user likes.
    pub(super) fn device(&mut self, device: Device) -> Result<()> {
        let Device { width, height, dark } = device;
        let mobile = width < 600;
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile});
        self.call("Emulation.setDeviceMetricsOverride", &metrics)?;
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", &json!({"features": features}))?;
        Ok(())
    }

    /// Opens an address and waits until the page stands.
    pub(super) fn open(&mut self, address: &str) -> Result<()> {
        self.call("Page.navigate", &json!({"url": address}))?;
        self.run(
            "await until(() => location.protocol === 'http:' && document.readyState === 'complete' \
             && document.getElementById('model')?.textContent);
             return '';",
        )?;
        Ok(())
    }

    /// Runs the body of an asynchronous function on the page; returns what it returns, as text.
    pub(super) fn run(&mut self, body: &str) -> Result<String> {
        let expression = format!("(async () => {{ {TOOLS}\n{body}\n}})().then(String)");
        let asked = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", &asked)?;
        if let Some(thrown) = answer.get("exceptionDetails") {
            let complaints = self.complaints.join("; ");
            bail!("{} {complaints}", thrown["exception"]["description"]);
        }
        Ok(answer["result"]["value"].as_str().unwrap_or_default().to_owned())
    }

    /// Writes what the page looks like to a PNG file.
    pub(super) fn screenshot(&mut self, path: &Path) -> Result<()> {
        let asked = json!({"format": "png", "captureBeyondViewport": true});
        let answer = self.call("Page.captureScreenshot", &asked)?;
        let data = answer["data"].as_str().context("a picture")?;
        Ok(std::fs::write(path, from_base64(data))?)
    }

    /// Returns errors and violated policies that the browser has told of.
    pub(super) fn complaints(&self) -> &[String] {
        &self.complaints
    }

    fn call(&mut self, method: &str, params: &Value) -> Result<Value> {
        self.num_calls += 1;
        let id = self.num_calls;
        let mut message = json!({"id": id, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        write!(self.input, "{message}\0")?;
        self.input.flush()?;
        loop {
            let mut bytes = Vec::new();
            self.output.read_until(0, &mut bytes)?;
            bytes.pop();
            let answer: Value =
                serde_json::from_slice(&bytes).with_context(|| format!("{method}: no answer"))?;
            if answer["id"] == id {
                if let Some(error) = answer.get("error") {
                    bail!("{method}: {error}");
                }
                return Ok(answer["result"].clone());
            }
            self.listen(&answer);
        }
    }

    /// Keeps what an event complains about.
    fn listen(&mut self, event: &Value) {
        let params = &event["params"];
        match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => {
                self.complaints.push(params["exceptionDetails"].to_string());
            }
            Some("Log.entryAdded") if params["entry"]["level"] == "error" => {
                self.complaints.push(params["entry"].to_string());
            }
            _ => {}
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Decodes base64 without line breaks, as the protocol writes it.
fn from_base64(text: &str) -> Vec<u8> {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let letters: Vec<u8> = text.bytes().filter(|letter| *letter != b'=').map(value).collect();
    let mut bytes = Vec::with_capacity(letters.len() * 3 / 4);
    for four in letters.chunks(4) {
        let bits = four.iter().fold(0_u32, |bits, six| bits << 6 | u32::from(*six));
        let bits = bits << (6 * (4 - four.len()));
        bytes.extend(&bits.to_be_bytes()[1..four.len()]);
    }
    bytes
}
