//! Questions about a scene, with the answer and answers that are wrong.

use crate::caption::at;
use crate::language::{Says, a, alike, phrase, plural};
use crate::random::Stream;
use crate::refer::{APART, refer};
use crate::scene::{ChartKind, Color, Extent, Kind, Object, Scene, Texture, View, WORDS, Writing};

/// What a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    Existence,
    Count,
    Color,
    Kind,
    Texture,
    Extent,
    /// Yes or no: is one to the left of, above ... another?
    Position,
    /// On which side?
    Side,
    Reading,
    /// Yes or no: does it say that?
    Says,
    /// Yes or no: are there so many?
    Number,
    /// Yes or no: does it have that colour?
    Hue,
    Depth,
    Distance,
    Chart,
    Arrow,
}

impl Topic {
    /// Returns its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Existence => "existence",
            Self::Count => "count",
            Self::Color => "color",
            Self::Kind => "kind",
            Self::Texture => "texture",
            Self::Extent => "size",
            Self::Position => "position",
            Self::Side => "side",
            Self::Reading => "reading",
            Self::Says => "says",
            Self::Number => "number",
            Self::Hue => "hue",
            Self::Depth => "depth",
            Self::Distance => "distance",
            Self::Chart => "chart",
            Self::Arrow => "arrow",
        }
    }

    /// Returns what can be asked about a sort of picture.
    pub(crate) fn of(view: View) -> &'static [Self] {
        match view {
            View::Flat => &[
                Self::Existence,
                Self::Count,
                Self::Count,
                Self::Number,
                Self::Color,
                Self::Hue,
                Self::Kind,
                Self::Texture,
                Self::Extent,
                Self::Position,
                Self::Side,
            ],
            View::Room => &[
                Self::Existence,
                Self::Count,
                Self::Number,
                Self::Color,
                Self::Hue,
                Self::Kind,
                Self::Position,
                Self::Side,
                Self::Depth,
                Self::Distance,
            ],
            View::Sign => &[Self::Reading, Self::Says],
            View::Chart => &[Self::Chart],
            View::Diagram => &[Self::Arrow],
        }
    }

    /// Returns what takes more than one look: to find something, then to compare it with what is
    /// asked or with something else. GQA asks little else.
    pub(crate) fn composed(view: View) -> &'static [Self] {
        match view {
            View::Flat => &[
                Self::Existence,
                Self::Existence,
                Self::Count,
                Self::Number,
                Self::Hue,
                Self::Hue,
                Self::Position,
                Self::Position,
                Self::Side,
                Self::Side,
            ],
            View::Room => &[
                Self::Existence,
                Self::Count,
                Self::Number,
                Self::Hue,
                Self::Position,
                Self::Side,
                Self::Depth,
                Self::Distance,
            ],
            View::Sign | View::Chart | View::Diagram => Self::of(view),
        }
    }
}

/// A question with its answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Question {
    pub(crate) topic: Topic,
    pub(crate) text: String,
    pub(crate) answer: String,
    /// Answers that are wrong and could be right.
    pub(crate) wrong: Vec<String>,
}

/// How many of the things that are there most often are popular.
const POPULAR: usize = 20;

/// Where what is asked for in vain comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent<'a> {
    /// Something that is there, in the colour of something else that is there.
    Adversarial,
    /// Something that is often there in other pictures; what is there most often comes first.
    Popular(&'a [(Kind, Color)]),
    /// Anything.
    Random,
}

/// Asks about a topic; `is_yes` decides the answer to questions for yes or no.
pub(crate) fn ask(
    scene: &Scene,
    topic: Topic,
    is_yes: bool,
    stream: &mut Stream,
) -> Option<Question> {
    let (text, answer, wrong) = match topic {
        Topic::Existence => {
            let absent = stream.pick(&[Absent::Adversarial, Absent::Adversarial, Absent::Random]);
            (
                existence(scene, (!is_yes).then_some(absent), stream)?,
                yes(is_yes),
                vec![yes(!is_yes)],
            )
        }
        Topic::Position => (position(scene, is_yes, stream)?, yes(is_yes), vec![yes(!is_yes)]),
        Topic::Says => (says(scene, is_yes, stream)?, yes(is_yes), vec![yes(!is_yes)]),
        Topic::Number | Topic::Hue => {
            let about = if topic == Topic::Number { Topic::Count } else { Topic::Color };
            let (right, wrong) = statements(&ask(scene, about, true, stream)?, stream)?;
            (if is_yes { right } else { wrong }, yes(is_yes), vec![yes(!is_yes)])
        }
        Topic::Count => count(scene, stream)?,
        Topic::Color | Topic::Kind | Topic::Texture | Topic::Extent => {
            attribute(scene, topic, stream)?
        }
        Topic::Side => side(scene, stream)?,
        Topic::Reading => reading(scene, stream)?,
        Topic::Depth => depth(scene, stream)?,
        Topic::Distance => distance(scene, stream)?,
        Topic::Chart => chart(scene, stream)?,
        Topic::Arrow => arrow(scene, stream)?,
    };
    Some(Question { topic, text, answer, wrong })
}

/// Asks in words that vary; the question is the same.
pub(crate) fn ask_freely(
    scene: &Scene,
    topic: Topic,
    is_yes: bool,
    stream: &mut Stream,
) -> Option<Question> {
    let mut question = ask(scene, topic, is_yes, stream)?;
    if stream.chance(40) {
        question.text = question.text.replace(" in the image", "");
    }
    if question.answer == "yes" || question.answer == "no" {
        if stream.chance(15) {
            question.text.push_str(" Please answer yes or no.");
        }
    } else if topic == Topic::Count && stream.chance(15) {
        question.text = question.text.replace(" are there", " can you see");
    }
    Some(question)
}

/// Turns a question into one with the right and one with a wrong answer in it.
pub(crate) fn statements(asked: &Question, stream: &mut Stream) -> Option<(String, String)> {
    let wrong = stream.pick(&asked.wrong);
    let with = |answer: &str| {
        if asked.topic == Topic::Color {
            let name = asked.text.strip_prefix("What color is ")?.trim_end_matches('?');
            return Some(format!("Is {name} {answer}?"));
        }
        let name = asked.text.strip_prefix("How many ")?.split(" are there").next()?;
        Some(format!("Is the number of {name} in the image {answer}?"))
    };
    with(&asked.answer).zip(with(&wrong))
}

/// A question, its answer, and wrong answers.
type Asked = (String, String, Vec<String>);

fn yes(is_yes: bool) -> String {
    if is_yes { "yes" } else { "no" }.to_owned()
}

/// Returns the words that are not the right one.
fn others<'a>(words: impl IntoIterator<Item = &'a str>, right: &str) -> Vec<String> {
    words.into_iter().filter(|word| *word != right).map(ToOwned::to_owned).collect()
}

/// Asks whether something is there: something that is, or that is absent.
pub(crate) fn existence(
    scene: &Scene,
    absent: Option<Absent<'_>>,
    stream: &mut Stream,
) -> Option<String> {
    let mut object = stream.pick(&scene.objects);
    let mut says = if stream.chance(60) { Says::NAME } else { Says::KIND };
    if let Some(absent) = absent {
        let kinds: &[Kind] = if scene.view == View::Room { &Kind::SOLID } else { &Kind::FLAT };
        let is_there =
            |object: &Object, says| scene.objects.iter().any(|other| alike(other, object, says));
        let mut tries = 0;
        loop {
            match absent {
                Absent::Adversarial => {
                    says = Says::NAME;
                    object.kind = stream.pick(&scene.objects).kind;
                    object.color = stream.pick(&scene.objects).color;
                    // Where all combinations are there, one of the two is changed.
                    if tries > 10 && stream.chance(50) {
                        object.kind = stream.pick(kinds);
                    } else if tries > 10 {
                        object.color = stream.pick(&Color::ALL);
                    }
                }
                Absent::Popular(often) => {
                    let known = often.iter().filter(|(kind, _)| kinds.contains(kind));
                    let known: Vec<_> = known.take(POPULAR).copied().collect();
                    if known.is_empty() {
                        return None;
                    }
                    (object.kind, object.color) = stream.pick(&known);
                }
                Absent::Random => {
                    object.kind = stream.pick(kinds);
                    object.color = stream.pick(&Color::ALL);
                }
            }
            if !is_there(&object, says) {
                break;
            }
            tries += 1;
            if tries > 20 {
                says = Says::NAME;
            }
            if tries > 200 {
                return None;
            }
        }
    }
    Some(format!("Is there {} in the image?", a(&phrase(&object, says))))
}

fn count(scene: &Scene, stream: &mut Stream) -> Option<Asked> {
    let object = stream.pick(&scene.objects);
    let says =
        stream.pick(&[Says::NAME, Says::NAME, Says::KIND, Says { color: true, ..Says::default() }]);
    let num = scene.objects.iter().filter(|other| alike(other, &object, says)).count();
    if num > 5 {
        return None;
    }
    let wrong = (1..=5).filter(|other| *other != num).map(|num: usize| num.to_string()).collect();
    let text = format!("How many {} are there in the image?", plural(&object, says));
    Some((text, num.to_string(), wrong))
}

fn attribute(scene: &Scene, topic: Topic, stream: &mut Stream) -> Option<Asked> {
    let number = stream.below(scene.objects.len());
    let object = &scene.objects[number];
    let only = Says::default();
    let unsaid = match topic {
        Topic::Color => Says { color: true, ..only },
        Topic::Kind => Says { kind: true, ..only },
        Topic::Texture => Says { texture: true, ..only },
        _ => Says { extent: true, ..only },
    };
    let name = refer(scene, object, unsaid, stream)?;
    let kinds: &[Kind] = if scene.view == View::Room { &Kind::SOLID } else { &Kind::FLAT };
    Some(match topic {
        Topic::Color => {
            let right = object.color.word();
            let wrong = others(Color::ALL.map(Color::word), right);
            (format!("What color is the {name}?"), right.to_owned(), wrong)
        }
        Topic::Kind => {
            let right = object.kind.word();
            let wrong = others(kinds.iter().map(|kind| kind.word()), right);
            (format!("What is the {name}?"), right.to_owned(), wrong)
        }
        Topic::Texture if object.kind.is_shape() => {
            let right = object.texture.word();
            let wrong = others(Texture::ALL.map(Texture::word), right);
            (format!("What pattern does the {name} have?"), right.to_owned(), wrong)
        }
        Topic::Extent => {
            let right = object.extent.word();
            let wrong = others([Extent::Small, Extent::Large].map(Extent::word), right);
            (format!("Is the {name} small or large?"), right.to_owned(), wrong)
        }
        _ => return None,
    })
}

/// Two objects that are clearly apart, with their names.
struct Pair {
    first: String,
    second: String,
    /// Where the first is, seen from the second.
    relation: &'static str,
    opposite: &'static str,
}

/// Finds two objects; in a room what is higher in the picture is only farther away.
fn pair(scene: &Scene, stream: &mut Stream) -> Option<Pair> {
    let objects = &scene.objects;
    for _ in 0..12 {
        let (i, j) = (stream.below(objects.len()), stream.below(objects.len()));
        let [dx, dy] =
            [0, 1].map(|axis| objects[i].bounds.middle()[axis] - objects[j].bounds.middle()[axis]);
        let is_upright = scene.view != View::Room && stream.chance(50);
        let off = if is_upright { dy } else { dx };
        if i == j || off.abs() < APART {
            continue;
        }
        let (low, high) =
            if is_upright { ("above", "below") } else { ("to the left of", "to the right of") };
        let (relation, opposite) = if off < 0.0 { (low, high) } else { (high, low) };
        let mut name = |number: usize| {
            let name = refer(scene, &objects[number], Says::default(), stream)?;
            // Places would give the answer away.
            (!name.contains(" on the ") && !name.contains(" at the ")).then_some(name)
        };
        if let (Some(first), Some(second)) = (name(i), name(j)) {
            return Some(Pair { first, second, relation, opposite });
        }
    }
    None
}

fn position(scene: &Scene, is_yes: bool, stream: &mut Stream) -> Option<String> {
    let Pair { first, second, relation, opposite } = pair(scene, stream)?;
    Some(format!("Is the {first} {} the {second}?", if is_yes { relation } else { opposite }))
}

/// Returns a statement about two objects that is true or not, and the relation it is about.
pub(crate) fn statement(
    scene: &Scene,
    is_true: bool,
    stream: &mut Stream,
) -> Option<(String, &'static str)> {
    let Pair { first, second, relation, opposite } = pair(scene, stream)?;
    let relation = if is_true { relation } else { opposite };
    let said = format!("The {first} is {relation} the {second}.");
    // Readers of the format split at every `is`, the one in `fish` too.
    (said.matches("is").count() == 1).then_some((said, relation.trim_start_matches("to the ")))
}

fn side(scene: &Scene, stream: &mut Stream) -> Option<Asked> {
    let Pair { first, second, relation, opposite } = pair(scene, stream)?;
    let short = |words: &str| words.replace("to the ", "").replace(" of", "");
    let (right, wrong) = (short(relation), short(opposite));
    let text = if right == "above" || right == "below" {
        format!("Is the {first} above or below the {second}?")
    } else {
        format!("Is the {first} to the left or to the right of the {second}?")
    };
    Some((text, right, vec![wrong]))
}

/// Returns words that name one board.
fn board(scene: &Scene, writing: &Writing, stream: &mut Stream) -> String {
    let is_alone = scene.writing.iter().filter(|other| other.board == writing.board).count() == 1;
    if scene.writing.len() == 1 {
        "sign".to_owned()
    } else if is_alone && stream.chance(50) {
        format!("{} sign", writing.board.word())
    } else {
        format!("sign {}", at(writing.place.word()))
    }
}

fn reading(scene: &Scene, stream: &mut Stream) -> Option<Asked> {
    let writing = scene.writing.get(stream.below(scene.writing.len()))?;
    let text = format!("What does the {} say?", board(scene, writing, stream));
    let wrong = (0..6).map(|_| another(writing, stream)).collect();
    Some((text, writing.text.clone(), wrong))
}

fn says(scene: &Scene, is_yes: bool, stream: &mut Stream) -> Option<String> {
    let writing = scene.writing.get(stream.below(scene.writing.len()))?;
    let name = board(scene, writing, stream);
    let said = if is_yes { writing.text.clone() } else { another(writing, stream) };
    Some(format!("Does the {name} say {said}?"))
}

/// Returns another word or number, as long as the one on a board.
fn another(writing: &Writing, stream: &mut Stream) -> String {
    let right = &writing.text;
    if right.starts_with(|letter: char| letter.is_ascii_digit()) {
        let right: usize = right.parse().unwrap_or_default();
        return ((right + 1 + stream.below(99)) % 100).to_string();
    }
    let near: Vec<&str> =
        WORDS.into_iter().filter(|word| word != right && word.len() == right.len()).collect();
    stream.pick(&near).to_owned()
}

/// Names for three objects of a room.
fn named(scene: &Scene, stream: &mut Stream, num: usize) -> Option<Vec<(usize, String)>> {
    let mut order: Vec<usize> = (0..scene.objects.len()).collect();
    stream.shuffle(&mut order);
    let alone = Says { extent: true, ..Says::default() };
    let name = |number: usize, stream: &mut Stream| {
        Some((number, refer(scene, &scene.objects[number], alone, stream)?))
    };
    let found: Vec<_> =
        order.into_iter().filter_map(|number| name(number, stream)).take(num).collect();
    (found.len() == num).then_some(found)
}

fn depth(scene: &Scene, stream: &mut Stream) -> Option<Asked> {
    let found = named(scene, stream, 2)?;
    let far = |i: usize| scene.objects[found[i].0].depth;
    if (far(0) - far(1)).abs() < 0.5 {
        return None;
    }
    let (near, other) = if far(0) < far(1) { (0, 1) } else { (1, 0) };
    let text = format!("Which is closer to the camera, the {} or the {}?", found[0].1, found[1].1);
    Some((text, found[near].1.clone(), vec![found[other].1.clone()]))
}

fn distance(scene: &Scene, stream: &mut Stream) -> Option<Asked> {
    let found = named(scene, stream, 3)?;
    let place = |i: usize| scene.objects[found[i].0].floor.unwrap_or_default();
    let apart = |i: usize, j: usize| {
        let [dx, dz] = [0, 1].map(|axis| place(i)[axis] - place(j)[axis]);
        (dx * dx + dz * dz).sqrt()
    };
    if (apart(0, 1) - apart(0, 2)).abs() < 0.5 {
        return None;
    }
    let (near, other) = if apart(0, 1) < apart(0, 2) { (1, 2) } else { (2, 1) };
    let (from, one, two) = (&found[0].1, &found[1].1, &found[2].1);
    let text = format!("Which is closer to the {from}, the {one} or the {two}?");
    Some((text, found[near].1.clone(), vec![found[other].1.clone()]))
}

fn chart(scene: &Scene, stream: &mut Stream) -> Option<Asked> {
    let chart = scene.chart.as_ref()?;
    let most = stream.chance(50);
    let by_value = |entry: &&crate::scene::Entry| entry.value;
    let found = if most {
        chart.entries.iter().max_by_key(by_value)?
    } else {
        chart.entries.iter().min_by_key(by_value)?
    };
    let label = found.label.to_string();
    let labels: Vec<String> = chart.entries.iter().map(|entry| entry.label.to_string()).collect();
    let colors = chart.entries.iter().map(|entry| entry.color.word());
    let value = stream.pick(&chart.entries);
    let thing = ["bar", "point", "slice"][chart.kind as usize];
    let adjective = match (chart.kind, most) {
        (ChartKind::Pie, true) => "largest",
        (ChartKind::Pie, false) => "smallest",
        (_, true) => "highest",
        (_, false) => "lowest",
    };
    Some(match (chart.kind, stream.below(3)) {
        (ChartKind::Pie, _) | (ChartKind::Bar, 0) => {
            let wrong = others(colors, found.color.word());
            let text = format!("What color is the {adjective} {thing}?");
            (text, found.color.word().to_owned(), wrong)
        }
        (_, 1) => {
            let wrong = others(labels.iter().map(String::as_str), &label);
            (format!("Which {thing} is the {adjective}?"), label, wrong)
        }
        _ => {
            let right = value.value.to_string();
            let digits: Vec<String> = (1..=9).map(|digit: usize| digit.to_string()).collect();
            let wrong = others(digits.iter().map(String::as_str), &right);
            (format!("What is the value of {thing} {}?", value.label), right, wrong)
        }
    })
}

fn arrow(scene: &Scene, stream: &mut Stream) -> Option<Asked> {
    let diagram = scene.diagram.as_ref()?;
    if stream.chance(30) {
        let right = diagram.boxes.len();
        let wrong = (2..=5).filter(|num| *num != right).map(|num: usize| num.to_string());
        return Some((
            "How many boxes are there in the diagram?".to_owned(),
            right.to_string(),
            wrong.collect(),
        ));
    }
    let (from, to) = stream.pick(&diagram.arrows);
    let letter = |number: usize| diagram.boxes[number].0.to_string();
    let letters: Vec<String> =
        (0..diagram.boxes.len()).filter(|i| *i != from).map(letter).collect();
    let wrong = others(letters.iter().map(String::as_str), &letter(to));
    let text = format!("Which box does the arrow from box {} point to?", letter(from));
    Some((text, letter(to), wrong))
}
