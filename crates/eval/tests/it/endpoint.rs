//! Endpoints and judges, against a small server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use eval::endpoint::{Endpoint, EndpointConfig};
use eval::judge::Judge;
use eval::run::{Answerer, EndpointAnswerer, Job, Reply};
use eval::score::{Found, ScoreOptions, score};
use eval::{Error, Family, Form, Part};
use serde_json::{Value, json};

use crate::score::sheet;

/// Replies by what was asked: status and body.
type Script = dyn Fn(usize, &Value) -> (u16, String) + Send + Sync;

/// A server that keeps what it was asked.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Server {
    fn start(script: impl Fn(usize, &Value) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (script, kept): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (script, kept) = (Arc::clone(&script), Arc::clone(&kept));
                std::thread::spawn(move || serve(stream, &*script, &kept));
            }
        });
        Self { url: format!("http://{address}/v1"), asked }
    }

    fn config(&self) -> EndpointConfig {
        let wait = Duration::from_millis(1);
        EndpointConfig { wait, retries: 3, ..EndpointConfig::new(&self.url, "judge") }
    }

    fn num_asked(&self) -> usize {
        self.asked.lock().expect("no thread panics").len()
    }
}

/// Answers requests on a connection until the client closes it.
fn serve(stream: TcpStream, script: &Script, kept: &Mutex<Vec<Value>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let mut len = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim().to_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                len = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; len];
        reader.read_exact(&mut body).ok()?;
        let asked: Value = serde_json::from_slice(&body).ok()?;
        let (status, reply) = {
            let mut kept = kept.lock().ok()?;
            let reply = script(kept.len(), &asked);
            kept.push(asked);
            reply
        };
        let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n", reply.len());
        stream.write_all((head + &reply).as_bytes()).ok()?;
    }
}

fn said(text: &str) -> (u16, String) {
    let usage = json!({ "prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12 });
    let choice =
        json!({ "message": { "role": "assistant", "content": text }, "finish_reason": "stop" });
    (200, json!({ "choices": [choice], "usage": usage }).to_string())
}

fn prompt(asked: &Value) -> &str {
    let messages = asked["messages"].as_array().expect("a request has messages");
    messages.last().expect("there is one")["content"].as_str().unwrap_or_default()
}

#[test]
fn failures_and_empty_replies_are_asked_again() {
    let server = Server::start(|number, _| match number {
        0 => (503, "busy".to_owned()),
        1 => said("  "),
        2 => (200, "no JSON".to_owned()),
        _ => said(" fine "),
    });
    let endpoint = Endpoint::new(server.config());
    let reply = endpoint.complete(&json!([]), &json!({ "temperature": 0.0 })).unwrap();
    assert_eq!((reply.text.as_str(), reply.usage.prompt_tokens), ("fine", 10));
    assert_eq!(server.num_asked(), 4);
    let asked = server.asked.lock().unwrap();
    assert_eq!((&asked[0]["model"], &asked[0]["temperature"]), (&json!("judge"), &json!(0.0)));
}

/// Asks an endpoint three questions and returns the answers by question, or the error.
fn answers(server: &Server) -> Result<Vec<Result<String, String>>, Error> {
    let job = |question: usize| Job {
        question,
        parts: vec![Part::Text(format!("question {question}"))],
        form: Form::Adapter,
        max_new_tokens: 8,
        image_key: String::new(),
        upright: false,
    };
    let jobs: Vec<Job> = (0..3).map(job).collect();
    let mut answers = vec![Err("not asked".to_owned()); 3];
    let config = EndpointConfig { concurrency: 1, ..server.config() };
    let images = |_: &Job| Ok(Vec::new());
    let mut on_reply = |at: usize, reply: Reply| {
        answers[at] = reply.answer;
        ControlFlow::Continue(())
    };
    EndpointAnswerer::new(config, || false).answer(&jobs, &images, &mut on_reply)?;
    Ok(answers)
}

fn asks(asked: &Value, question: usize) -> bool {
    asked["messages"][0]["content"][0]["text"] == format!("question {question}")
}

#[test]
fn one_question_without_an_answer_does_not_end_a_run() {
    let broken =
        Server::start(
            |_, asked| {
                if asks(asked, 1) { (500, "overflow".to_owned()) } else { said("Yes") }
            },
        );
    let found = answers(&broken).unwrap();
    assert_eq!((&found[0], &found[2]), (&Ok("Yes".to_owned()), &Ok("Yes".to_owned())));
    assert_eq!(found[1], Err("status 500: overflow (after 4 attempts)".to_owned()));
    assert_eq!(broken.num_asked(), 6);
    // Where nothing was ever answered there is no reason to go on.
    let dead = Server::start(|_, _| (500, "down".to_owned()));
    assert!(answers(&dead).unwrap_err().to_string().contains("status 500: down"));
    // The second question may be under way when the first one fails.
    assert!(dead.num_asked() < 12);
}

#[test]
fn a_model_with_nothing_to_say_has_answered() {
    let server = Server::start(|_, asked| said(if asks(asked, 1) { " " } else { "No" }));
    let nothing = Ok(String::new());
    assert_eq!(answers(&server).unwrap(), [Ok("No".to_owned()), nothing, Ok("No".to_owned())]);
}

#[test]
fn it_is_said_once_in_a_while_why_requests_are_repeated() {
    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let notify = |text: &str| SAID.lock().expect("no thread panics").push(text.to_owned());
    let server = Server::start(|_, _| (429, "slowly".to_owned()));
    let endpoint = Endpoint::new(EndpointConfig { notify, ..server.config() });
    endpoint.complete(&json!([]), &json!({})).unwrap_err();
    let expected = format!("{}/chat/completions: status 429: slowly; trying again", server.url);
    assert_eq!(*SAID.lock().unwrap(), [expected]);
    assert_eq!(endpoint.num_repeated(), 3);
}

#[test]
fn what_an_endpoint_refuses_is_not_asked_again() {
    let server =
        Server::start(|_, _| (400, json!({ "error": { "message": "too long" } }).to_string()));
    let error = Endpoint::new(server.config()).complete(&json!([]), &json!({})).unwrap_err();
    assert!(
        matches!(&error, Error::Endpoint { problem, refused: true, .. } if problem == "status 400: too long")
    );
    assert_eq!(server.num_asked(), 1);
    let busy = Server::start(|_, _| (429, "slowly".to_owned()));
    let error = Endpoint::new(busy.config()).complete(&json!([]), &json!({})).unwrap_err();
    assert!(error.to_string().ends_with("status 429: slowly (after 4 attempts)"), "{error}");
}

#[test]
fn a_judge_grades_what_no_rule_can_and_remembers_it() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("judge.jsonl");
    let server = Server::start(|_, asked| {
        let free = asked["temperature"] != json!(0.0);
        match prompt(asked) {
            text if text.contains("x = 5") => said(if free { "0.5" } else { "about a half" }),
            text if text.contains("never") => said("1.5"),
            _ => said("1.0"),
        }
    });
    let vet = [("question", "What is x?"), ("answer", "5<AND>6"), ("category", "rec,math")];
    let rows: [(&[(&str, &str)], &str); 3] = [(&vet, "x = 5"), (&vet, "5, 6"), (&vet, "never")];
    let sheet = sheet("MMVet", Family::MmVet, &rows);
    for (asked, cached) in [(8, 0), (0, 8)] {
        let judge = Judge::open(server.config(), &cache).unwrap();
        let scored = score(&sheet, &ScoreOptions::default(), Some(&judge), &|| ()).unwrap();
        assert_eq!(scored.headlines[0].value, Some(50.0));
        assert!(scored.headlines[0].comparable);
        assert_eq!((scored.items[2].found, scored.unparsed), (Found::Nobody, 1));
        let cost = judge.cost();
        assert_eq!((cost.asked, cost.cached), (asked, cached));
        assert_eq!(cost.usage.prompt_tokens, 10 * asked as u64);
    }
    assert_eq!(server.num_asked(), 8);
    let asked = server.asked.lock().unwrap();
    assert!(asked.iter().any(|asked| prompt(asked).ends_with("What is x? | 5 <AND> 6 | x = 5 | ")));
    assert_eq!(asked[0]["max_tokens"], json!(2048));
}

#[test]
fn a_judge_is_asked_only_where_rules_fail() {
    let dir = tempfile::tempdir().unwrap();
    let server =
        Server::start(|_, asked| said(if prompt(asked).contains("feline") { "B" } else { "Yes" }));
    let judge = Judge::open(server.config(), &dir.path().join("judge.jsonl")).unwrap();
    let cells = [("question", "Which?"), ("answer", "B"), ("A", "dog"), ("B", "cat")];
    let choices: [(&[(&str, &str)], &str); 2] = [(&cells, "a feline"), (&cells, "B")];
    let choices = sheet("choices", Family::Choice, &choices);
    let scored = score(&choices, &ScoreOptions::default(), Some(&judge), &|| ()).unwrap();
    assert_eq!(scored.headlines[0].value, Some(100.0));
    assert_eq!((scored.items[0].found, scored.items[1].found), (Found::Judge, Found::Rule));
    let cells = [("question", "Is it?"), ("answer", "Yes"), ("category", "random")];
    let pope: [(&[(&str, &str)], &str); 2] = [(&cells, "it seems so"), (&cells, "No.")];
    let scored =
        score(&sheet("POPE", Family::Pope, &pope), &ScoreOptions::default(), Some(&judge), &|| ());
    assert_eq!(scored.unwrap().items[0].found, Found::Judge);
    assert_eq!(server.num_asked(), 2);
}

#[test]
fn reviews_of_llava_bench_are_pairs_and_failures_count() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(|_, asked| {
        said(if prompt(asked).contains("bad review") { "8, 6\nno" } else { "8 6\nyes" })
    });
    let judge = Judge::open(server.config(), &dir.path().join("judge.jsonl")).unwrap();
    let cells =
        [("question", "?"), ("gpt4_ans", "ref"), ("caption", "a room"), ("category", "conv")];
    let rows: [(&[(&str, &str)], &str); 2] = [(&cells, "an answer"), (&cells, "bad review")];
    let sheet = sheet("LLaVABench", Family::LlavaBench, &rows);
    let scored = score(&sheet, &ScoreOptions::default(), Some(&judge), &|| ()).unwrap();
    // (6 - 1) / (8 - 1)
    assert_eq!(scored.headlines[0].value, Some(71.4));
    assert_eq!(scored.unparsed, 1);
    // The published scorer would give 100, which is -1 of -1.
    let none: [(&[(&str, &str)], &str); 1] = [(&cells, "bad review")];
    let none = crate::score::sheet("LLaVABench", Family::LlavaBench, &none);
    let none = score(&none, &ScoreOptions::default(), Some(&judge), &|| ()).unwrap();
    assert_eq!((none.headlines[0].value, none.unparsed), (None, 1));
    let asked = server.asked.lock().unwrap();
    assert_eq!(asked[0]["messages"][0]["role"], "system");
    assert_eq!(asked[0]["temperature"], json!(0.2));
}

#[test]
fn a_judge_that_does_not_answer_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(|_, _| (401, "wrong key".to_owned()));
    let judge = Judge::open(server.config(), &dir.path().join("judge.jsonl")).unwrap();
    let cells = [("question", "?"), ("answer", "x"), ("category", "rec")];
    let sheet = sheet("MMVet", Family::MmVet, &[(&cells, "y")]);
    let error = score(&sheet, &ScoreOptions::default(), Some(&judge), &|| ()).unwrap_err();
    assert!(error.to_string().ends_with("status 401: wrong key"), "{error}");
}
