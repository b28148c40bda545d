//! The clients of others, unmodified: `OpenAI`'s for Python and JavaScript, curl, and a fuzzer that
//! reads the description of the API.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::served::Served;
use crate::workspace::{Workspace, installed, is_ci, output, run};

/// What is installed for it: the clients, what the notebook needs, the fuzzer.
const PACKAGES: [&str; 5] = ["openai", "pillow", "numpy", "matplotlib", "schemathesis"];
/// The picture that is asked about.
const PICTURE: &str = "crates/server/src/page/room.jpg";
/// What is asked about it.
const QUESTION: &str = "What color is the cone?";
/// What the fuzzer must not find.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_schema_conformance";

/// Drives a server with every client.
///
/// # Errors
/// If one of them is not served.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    for program in ["python3", "node", "npm", "curl"] {
        if !installed(workspace, program) {
            ensure!(!is_ci(), "no `{program}`");
            println!("skipped: no `{program}`");
            return Ok(());
        }
    }
    let folder = workspace.path("target/clients");
    install(workspace, &folder)?;
    let mut served = Served::start(workspace)?;
    let base = format!("{}/v1", served.address);
    let python = folder.join("python/bin/python").display().to_string();
    let client = |program: &str, arguments: &[&str]| {
        let mut command = workspace.command(program);
        command.args(arguments).env("OPENAI_BASE_URL", &base).env("AKI_SERVER", &served.address);
        command
    };
    let mut answers = Vec::new();
    for (program, script) in
        [(python.as_str(), "examples/chat.py"), ("node", "target/clients/chat.mjs")]
    {
        let answer = output(client(program, &[script, PICTURE, QUESTION]))?;
        answers.push(answer.trim().to_owned());
    }
    let whole: serde_json::Value =
        serde_json::from_str(&output(client("sh", &["examples/chat.sh", PICTURE, QUESTION]))?)?;
    let text = whole["choices"][0]["message"]["content"].as_str().context("a text")?;
    answers.push(text.trim().to_owned());
    let alike = answers.iter().all(|answer| !answer.is_empty() && *answer == answers[0]);
    ensure!(alike, "the clients' answers differ, or there are none: {answers:?}");
    run(client(&python, &["examples/structured.py", PICTURE]))?;
    run(client(&python, &["xtask/src/clients/openai_client.py"]))?;
    run(client(&python, &["xtask/src/clients/notebook.py", "examples/demo.ipynb"]))?;
    run(client(&python, &["examples/load.py", &served.address, "--requests", "600"]))?;
    fuzz(workspace, &folder, &served.address)?;
    ensure!(served.is_alive()?, "the server has ended");
    Ok(())
}

/// Installs the clients, if they are not there.
fn install(workspace: &Workspace, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::copy(workspace.path("examples/chat.mjs"), folder.join("chat.mjs"))?;
    let done = folder.join("installed");
    let wanted = PACKAGES.join(" ");
    if std::fs::read_to_string(&done).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    let environment = folder.join("python");
    let in_folder = |program: &str| {
        let mut command = Command::new(program);
        command.current_dir(folder);
        command
    };
    let mut command = in_folder("python3");
    command.args(["-m", "venv"]).arg(&environment);
    run(command)?;
    let mut command = in_folder(&environment.join("bin/pip").display().to_string());
    command.args(["install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES);
    run(command)?;
    let mut command = in_folder("npm");
    command.args(["install", "--silent", "--no-fund", "--no-audit", "--prefix", ".", "openai"]);
    run(command)?;
    Ok(std::fs::write(done, wanted)?)
}

/// Lets a fuzzer make requests of all kinds out of the description of the API.
fn fuzz(workspace: &Workspace, folder: &Path, address: &str) -> Result<()> {
    let program = folder.join("python/bin/schemathesis").display().to_string();
    let mut command = workspace.command(&program);
    command.args(["run", &format!("{address}/openapi.json"), "--url", address]);
    command.args(["--checks", CHECKS, "--max-examples", "40", "--seed", "1", "--no-color"]);
    command.args(["--phases", "examples,coverage,fuzzing", "--request-timeout", "60"]);
    run(command)
}
