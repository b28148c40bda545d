//! The words for judges.
//!
//! They ask for what the published scorers ask for, in our own words. Whoever has a benchmark's own
//! words at hand can put them in their place: [`Requests::read`].

use std::path::Path;

use super::Answered;
use crate::Error;
use crate::judge::Task;
use crate::rules::Options;

const CHOICE: &str = "\
Match an answer to a multiple-choice question with the option it means. Reply with the letter of \
that option and nothing else. If the answer means none of the options, or refuses to answer, reply \
with Z.

Question: What is on the table?
Options: A. a lamp B. a bowl C. a kitten D. a puppy
Answer: a very young cat
Letter: C

Question: What is on the table?
Options: A. a lamp B. a bowl C. a kitten D. a puppy
Answer: a bicycle
Letter: Z

Question: {question}
Options: {options}
Answer: {prediction}
Letter: ";

const YES_NO: &str = "\
Say whether an answer to a question means yes or no. Reply with one word: Yes, No, or Unknown if it \
means neither.

Question: Is the door in this picture open?
Answer: The door is shut.
Word: No

Question: Is the door in this picture open?
Answer: One can look through it into the garden.
Word: Yes

Question: {question}
Answer: {prediction}
Word: ";

const MATH: &str = "\
Take the final answer out of a response to a question. Reply with the answer alone: a number with as \
many decimal places as the question wants, the letter of an option, or a list in brackets. Do not \
solve the question yourself.

Question: How many apples are left? The answer is an integer.
Response: Of 9 apples 4 were eaten, which leaves 5 of them.
Answer: 5

Question: How long is the side? Give two decimal places.
Response: By Pythagoras it is the root of two, about 1.41 metres.
Answer: 1.41

Question: Which bar is the tallest? Choices: (A) red (B) blue
Response: The blue bar is taller than the red one.
Answer: B

Question: Which years had rain? Give a list.
Response: It rained in 2007 and in 2008.
Answer: [2007, 2008]

{question}
Response: {prediction}
Answer: ";

const MM_VET: &str = "\
Compare a prediction with the ground truth and grade it with a number from 0.0 (totally wrong) to 1.0 \
(totally right) in steps of 0.1. Where parts of the ground truth are joined by <AND>, all of them are \
needed for 1.0, and some of them earn a part of it. Where they are joined by <OR>, any one of them is \
enough. Reply with the number that completes the last line, and with nothing else.

Question | Ground truth | Prediction | Correctness
--- | --- | --- | ---
Which numbers solve it? | 2 <AND> -7 | 5 | 0.0
Which numbers solve it? | 2 <AND> -7 | 2 | 0.5
Which numbers solve it? | 2 <AND> -7 | -7 or 7 | 0.5
Which numbers solve it? | 2 <AND> -7 | 2 and -7 | 1.0
Which animal is it? | cat <OR> kitten | a kitten on a sofa | 1.0
Why is the sign funny? | It forbids reading signs, so whoever obeys it has broken it already. | The \
sign has a joke about signs. | 0.4
Why is the sign funny? | It forbids reading signs, so whoever obeys it has broken it already. | One \
has to read it to learn that reading is forbidden. | 1.0

{question} | {answer} | {prediction} | ";

const LLAVA_BENCH: &str = "\
[Context]
{caption}

[Question]
{question}

[Assistant 1]
{reference}

[End of Assistant 1]

[Assistant 2]
{prediction}

[End of Assistant 2]

[System]
Two assistants answered the question about an image, which the context describes. Rate how helpful, \
relevant, accurate and detailed each answer is with a score from 1 to 10, where more is better. The \
first line of your reply holds the two scores alone, first that of Assistant 1, then that of Assistant \
2, with one space between them. Explain the scores from the second line on; neither the order of the \
answers nor their length shall matter by itself.
";

/// What a judge of LLaVA-Bench is told to be.
const LLAVA_BENCH_SYSTEM: &str =
    "You are a helpful and precise assistant for checking the quality of the answer.";

/// The words for judges, with the names of a question's cells in braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requests {
    choice: String,
    yes_no: String,
    math: String,
    mm_vet: String,
    llava_bench: String,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            choice: CHOICE.to_owned(),
            yes_no: YES_NO.to_owned(),
            math: MATH.to_owned(),
            mm_vet: MM_VET.to_owned(),
            llava_bench: LLAVA_BENCH.to_owned(),
        }
    }
}

impl Requests {
    /// Returns the words of a folder's files `choice.txt`, `yes_no.txt`, `math.txt`, `mm_vet.txt`
    /// and `llava_bench.txt`; our own where there is no such file.
    ///
    /// # Errors
    /// If a file cannot be read, or the folder has none of them.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let mut requests = Self::default();
        let mut known = false;
        for (name, words) in [
            ("choice.txt", &mut requests.choice),
            ("yes_no.txt", &mut requests.yes_no),
            ("math.txt", &mut requests.math),
            ("mm_vet.txt", &mut requests.mm_vet),
            ("llava_bench.txt", &mut requests.llava_bench),
        ] {
            let path = folder.join(name);
            if path.exists() {
                known = true;
                *words = std::fs::read_to_string(&path).map_err(|source| Error::File {
                    action: "read",
                    path,
                    source,
                })?;
            }
        }
        if known {
            Ok(requests)
        } else {
            let what = "choice.txt, yes_no.txt, math.txt, mm_vet.txt or llava_bench.txt in it";
            Err(Error::Empty { path: folder.to_owned(), what })
        }
    }

    pub(super) fn choice(&self, answered: &Answered<'_>, options: &Options) -> Task {
        let options: Vec<String> =
            options.iter().map(|(letter, text)| format!("{letter}. {text}")).collect();
        let prompt = fill(&self.choice, answered, &[("options", &options.join(" "))]);
        Task { system: None, prompt, temperatures: vec![0.0; 3], max_tokens: None }
    }

    pub(super) fn yes_no(&self, answered: &Answered<'_>) -> Task {
        Task::patient(fill(&self.yes_no, answered, &[]), None)
    }

    pub(super) fn math(&self, answered: &Answered<'_>) -> Task {
        Task::patient(fill(&self.math, answered, &[]), Some(128))
    }

    pub(super) fn mm_vet(&self, answered: &Answered<'_>) -> Task {
        let answer = answered.shown("answer").replace("<AND>", " <AND> ").replace("<OR>", " <OR> ");
        Task::patient(fill(&self.mm_vet, answered, &[("answer", &answer)]), Some(2048))
    }

    pub(super) fn llava_bench(&self, answered: &Answered<'_>) -> Task {
        let cells = [("reference", answered.shown("gpt4_ans"))];
        Task {
            system: Some(LLAVA_BENCH_SYSTEM.to_owned()),
            prompt: fill(&self.llava_bench, answered, &cells),
            temperatures: vec![0.2],
            max_tokens: None,
        }
    }
}

/// Puts cells in the place of their names in braces, in one pass: braces in a cell stay.
fn fill(template: &str, answered: &Answered<'_>, cells: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(template.len() + answered.answer.len());
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        rest = &rest[open..];
        let close = rest.find('}').unwrap_or(rest.len());
        let name = rest.get(1..close).unwrap_or_default();
        let given = cells.iter().find(|(known, _)| *known == name).map(|(_, text)| *text);
        let value = match (given, name) {
            (Some(text), _) => Some(text),
            (None, "prediction") => Some(answered.answer),
            (None, "question" | "answer" | "caption" | "category") => Some(answered.shown(name)),
            _ => None,
        };
        if let Some(value) = value {
            out.push_str(value);
            rest = &rest[close + 1..];
        } else {
            out.push('{');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}
