//! The page as somebody uses it: in a headless Chromium, on a desktop and on a phone.

mod browser;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};

use self::browser::{Browser, Device};
use crate::miniature;
use crate::workspace::{Workspace, cargo, installed};

/// What the browser's program is called.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// A question about an example picture, asked with the keyboard's way of sending.
const ASK: &str = "
    document.querySelector('#examples button').click();
    await until(() => document.querySelectorAll('#images img').length === 1);
    const question = document.getElementById('question');
    await until(() => question.value !== '');
    question.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true, cancelable: true }));
    await until(() => document.querySelector('.answer .note'));
    return document.querySelector('.answer .text').textContent;";

/// The lens on a word of the question: how much of the canvas is lit, and what is said.
const LENS: &str = "
    [...document.querySelectorAll('.answer button')].find((it) => /look/.test(it.textContent)).click();
    await until(() => document.querySelector('.lens .word'));
    const words = [...document.querySelectorAll('.lens .word')];
    words[2].focus();
    const canvas = document.querySelector('.lens canvas');
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const lit = new Set(data.filter((_, at) => at % 4 === 3));
    return [words.length, lit.size, document.querySelector('.lens .note').textContent].join('|');";

/// The same question under two policies, after a change of settings.
const COMPARE: &str = "
    const compare = document.getElementById('compare');
    compare.value = 'causal';
    compare.dispatchEvent(new Event('change'));
    [...document.querySelectorAll('button')].find((it) => it.textContent === 'Regenerate').click();
    await until(() => document.querySelectorAll('.answer .note').length === 2);
    return [...document.querySelectorAll('.answer h3')].map((it) => it.textContent).join('|');";

/// Takes the question back, and asks another without a picture.
const EDIT: &str = "
    [...document.querySelectorAll('button')].find((it) => it.textContent === 'Edit').click();
    const question = document.getElementById('question');
    await until(() => document.querySelectorAll('#images img').length === 1 && question.value !== '');
    document.querySelector('#images button').click();
    question.value = 'What is a raven?';
    document.getElementById('ask').requestSubmit();
    await until(() => document.querySelector('.answer .note'));
    return document.querySelectorAll('#turns img').length + '|' + document.querySelectorAll('#turns > li').length;";

/// A picture that is pasted, and a file that is none.
const PASTE: &str = "
    const canvas = document.createElement('canvas');
    const blob = await new Promise((done) => canvas.toBlob(done));
    const paste = (file) => {
      const data = new DataTransfer();
      data.items.add(file);
      document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data }));
    };
    paste(new File([blob], 'a.png', { type: 'image/png' }));
    await until(() => document.querySelectorAll('#images img').length === 1);
    paste(new File(['x'], 'b.png', { type: 'image/png' }));
    await until(() => document.getElementById('status').textContent.includes('b.png'));
    return document.querySelectorAll('#images img').length;";

/// What is wrong for somebody who does not see the page, or sees it on a phone.
const FAULTS: &str = "
    const faults = [];
    for (const it of document.querySelectorAll('input, select, textarea')) {
      if (!it.labels?.length) faults.push(`no label: ${it.id}`);
    }
    for (const it of document.querySelectorAll('button, summary')) {
      if (!it.textContent.trim() && !it.ariaLabel) faults.push('a button without a name');
    }
    for (const it of document.querySelectorAll('img')) {
      if (!it.hasAttribute('alt')) faults.push('an image without a text');
    }
    const wide = document.documentElement.scrollWidth - innerWidth;
    if (wide > 0) faults.push(`${wide} pixels too wide`);
    return faults.join(', ');";

/// Runs the page's life in a browser.
///
/// # Errors
/// If something on the page does not work.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let Some(browser) = BROWSERS.iter().find(|name| installed(workspace, name)) else {
        println!("skipped: no Chromium; Debian has it in chromium");
        return Ok(());
    };
    cargo(workspace, &["build", "--quiet", "--release", "--package", "cli"])?;
    let screenshots = workspace.path("target/page");
    std::fs::create_dir_all(&screenshots)?;
    let (mut server, address) = serve(workspace)?;
    let result = use_page(browser, &address, &screenshots);
    server.kill().context("the server has ended")?;
    server.wait()?;
    result
}

fn serve(workspace: &Workspace) -> Result<(Child, String)> {
    let program = miniature::binary(workspace)?;
    let mut command = workspace.command(&program.display().to_string());
    let mut child = command.args(["serve", "--port", "0"]).stderr(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stderr.take().context("piped")?).lines();
    let first = lines.next().context("the server says nothing")??;
    std::thread::spawn(move || lines.for_each(drop));
    let address = first.strip_prefix("listening on ").context(first.clone())?;
    Ok((child, address.to_owned()))
}

fn use_page(program: &str, address: &str, screenshots: &Path) -> Result<()> {
    let mut browser = Browser::start(program, &screenshots.join("profile"))?;
    let shot = |browser: &mut Browser, name: &str| {
        browser.screenshot(&screenshots.join(format!("{name}.png")))
    };
    browser.device(Device { width: 1280, height: 900, dark: false })?;
    browser.open(address)?;
    shot(&mut browser, "welcome")?;
    let text = browser.run(ASK)?;
    ensure!(text.len() > 2, "the answer is {text}");
    let lens = browser.run(LENS)?;
    let parts: Vec<&str> = lens.split('|').collect();
    ensure!(parts[0] != "0" && parts[1] != "1", "the lens shows {lens}");
    ensure!(lens.contains("% of its attention"), "the lens says {lens}");
    shot(&mut browser, "lens")?;
    let policies = browser.run(COMPARE)?;
    ensure!(policies == "mutual|causal", "compared were {policies}");
    shot(&mut browser, "compared")?;
    for (name, width, dark) in [("phone", 390, false), ("phone-dark", 390, true)] {
        browser.device(Device { width, height: 844, dark })?;
        browser.open(address)?;
        let kept = browser.run("return document.querySelectorAll('#turns .answer').length;")?;
        ensure!(kept == "2", "{kept} answers are there after a new start, expected 2");
        let faults = browser.run(FAULTS)?;
        ensure!(faults.is_empty(), "{name}: {faults}");
        browser.run(LENS)?;
        shot(&mut browser, name)?;
    }
    let edited = browser.run(EDIT)?;
    ensure!(edited == "0|1", "after an edit there are {edited} images and turns");
    let pasted = browser.run(PASTE)?;
    ensure!(pasted == "1", "{pasted} images are there after pasting one");
    let complaints = browser.complaints();
    ensure!(complaints.is_empty(), "the browser complains: {}", complaints.join("; "));
    println!("screenshots are in {}", screenshots.display());
    Ok(())
}
