//! The page as somebody uses it: in a headless Chromium, on a desktop and on a phone.

mod browser;

use std::path::Path;

use anyhow::{Context, Result, ensure};

use self::browser::{Browser, Device};
use crate::served::Served;
use crate::workspace::{Workspace, installed, is_ci};

/// What the browser's program is called.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// The flags that stand for a camera and its user's consent.
pub(crate) const CAMERA: [&str; 2] =
    ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"];

/// Runs the page's life in a browser.
///
/// # Errors
/// If something on the page does not work.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let Some(browser) = BROWSERS.iter().find(|name| installed(workspace, name)) else {
        // CI installs one; a step that skips itself there would say that the page works.
        ensure!(!is_ci(), "no Chromium; Debian has it in chromium");
        println!("skipped: no Chromium; Debian has it in chromium");
        return Ok(());
    };
    let screenshots = workspace.path("target/page");
    std::fs::create_dir_all(&screenshots)?;
    let served = Served::start(workspace)?;
    use_page(browser, &served.address, &screenshots)
}

fn use_page(program: &str, address: &str, screenshots: &Path) -> Result<()> {
    let mut browser = Browser::start(program, &screenshots.join("profile"))?;
    let shot = |browser: &mut Browser, name: &str| {
        browser.screenshot(&screenshots.join(format!("{name}.png")))
    };
    browser.device(Device { width: 1280, height: 900, dark: false })?;
    browser.open(address)?;
    faultless(&mut browser, "welcome")?;
    shot(&mut browser, "welcome")?;
    let text = browser.run(include_str!("page/scripts/ask.js"))?;
    ensure!(text.len() > 2, "the answer is {text}");
    look(&mut browser)?;
    faultless(&mut browser, "lens")?;
    shot(&mut browser, "lens")?;
    let policies = browser.run(include_str!("page/scripts/compare.js"))?;
    ensure!(policies == "mutual|causal", "compared were {policies}");
    shot(&mut browser, "compared")?;
    for (name, width, dark) in
        [("phone", 390, false), ("phone-dark", 390, true), ("desktop-dark", 1280, true)]
    {
        browser.device(Device { width, height: 844, dark })?;
        browser.open(address)?;
        let kept = "await until(() => all('.answer').length); return all('.answer').length;";
        let kept = browser.run(kept)?;
        ensure!(kept == "2", "{kept} answers are there after a new start, expected 2");
        look(&mut browser)?;
        faultless(&mut browser, name)?;
        shot(&mut browser, name)?;
        browser.run("find('settings').showModal();")?;
        faultless(&mut browser, name)?;
        shot(&mut browser, &format!("{name}-settings"))?;
        browser.run("find('settings').close();")?;
    }
    for (script, expected, about) in [
        (include_str!("page/scripts/stop.js"), "false", "whether the stopped answer is busy"),
        (include_str!("page/scripts/edit.js"), "0|1", "images and turns after an edit"),
        (
            include_str!("page/scripts/gone.js"),
            "true|true|true",
            "what a server that goes away leaves",
        ),
        (include_str!("page/scripts/history.js"), "0", "turns after their conversation is deleted"),
        (include_str!("page/scripts/paste.js"), "4", "images that came in four ways"),
    ] {
        let found = browser.run(script)?;
        ensure!(found == expected, "{about}: {found}, expected {expected}");
    }
    shot(&mut browser, "pasted")?;
    let complaints = browser.complaints();
    ensure!(complaints.is_empty(), "the browser complains: {}", complaints.join("; "));
    println!("screenshots are in {}", screenshots.display());
    Ok(())
}

/// Looks through the lens.
fn look(browser: &mut Browser) -> Result<()> {
    let told = browser.run(include_str!("page/scripts/lens.js"))?;
    let lens: serde_json::Value = serde_json::from_str(&told)?;
    let shades = lens["shades"].as_array().context("a list")?;
    let painted = shades.iter().all(|shades| shades.as_u64().is_some_and(|shades| shades > 2));
    ensure!(lens["words"].as_u64() > Some(3) && painted, "the lens shows {told}");
    ensure!(lens["moves"] == true && lens["layered"] == true, "the lens stays the same: {told}");
    let says = |field: &str, words: &str| lens[field].as_str().is_some_and(|it| it.contains(words));
    ensure!(says("said", "% of its attention goes to"), "the lens says {told}");
    ensure!(says("asked", "% of the attention of"), "the lens says {told}");
    Ok(())
}

/// Checks that everybody can use what is on the screen.
fn faultless(browser: &mut Browser, name: &str) -> Result<()> {
    let faults = browser.run(include_str!("page/scripts/faults.js"))?;
    ensure!(faults.is_empty(), "{name}: {faults}");
    Ok(())
}
