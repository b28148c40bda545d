//! Answers to questions in words, found from the truth alone: nothing of this knows how questions
//! are made.

use serde_json::Value;

/// How far apart two middles have to be for a place or a relation to be clear.
const CLEAR: f64 = 0.14;
/// How far apart two distances have to be, in metres.
const NEARER: f64 = 0.45;

/// Returns the answer to a question about a scene; what is not clear is an error.
pub(crate) fn answer(scene: &Value, question: &str) -> Result<String, String> {
    let text = question.trim_end_matches(" Please answer yes or no.").trim_end_matches('?');
    let text = text.replace(" in the image", "").replace(" can you see", " are there");
    let yes = |is_yes: bool| Ok(if is_yes { "yes" } else { "no" }.to_owned());
    if let Some(rest) = text.strip_prefix("Is there ") {
        let words = rest.trim_start_matches("an ").trim_start_matches("a ");
        return yes(!fitting(scene, words).is_empty());
    }
    if text == "How many boxes are there in the diagram" {
        return Ok(list(&scene["diagram"], "boxes").len().to_string());
    }
    if let Some(words) = text.strip_prefix("How many objects have the color of the ") {
        let color = word(one(scene, words)?, "color");
        return Ok(fitting(scene, &format!("{color} object")).len().to_string());
    }
    if let Some(words) = middle(&text, "How many ", " are there") {
        return Ok(fitting(scene, words).len().to_string());
    }
    if let Some(rest) = text.strip_prefix("Is the number of ") {
        let (words, number) = rest.rsplit_once(' ').ok_or(question)?;
        return yes(fitting(scene, words).len().to_string() == number);
    }
    if let Some(words) = middle(&text, "What does the ", " say") {
        return board(scene, words);
    }
    if let Some(rest) = text.strip_prefix("Does the ") {
        let (words, said) = rest.split_once(" say ").ok_or(question)?;
        return yes(board(scene, words)? == said);
    }
    if !scene["chart"].is_null() {
        return chart(&scene["chart"], &text);
    }
    if let Some(letter) = middle(&text, "Which box does the arrow from box ", " point to") {
        return arrow(&scene["diagram"], letter);
    }
    about_objects(scene, &text)
}

/// Answers about one object, or two or three.
fn about_objects(scene: &Value, text: &str) -> Result<String, String> {
    let field = |words: &str, name: &str| Ok(word(one(scene, words)?, name).to_owned());
    if let Some(words) = text.strip_prefix("What color is the ") {
        return field(words, "color");
    }
    if let Some(words) = middle(text, "What pattern does the ", " have") {
        return field(words, "texture");
    }
    if let Some(words) = text.strip_prefix("What is the ") {
        return field(words, "kind");
    }
    if let Some(words) = middle(text, "Is the ", " small or large") {
        return field(words, "extent");
    }
    if let Some((from, rest)) =
        text.strip_prefix("Which is closer to the ").and_then(|rest| rest.split_once(", the "))
    {
        let (first, second) = rest.split_once(" or the ").ok_or(text)?;
        let far = |words: &str| distance(scene, from, words);
        let (one, other) = (far(first)?, far(second)?);
        if (one - other).abs() < NEARER {
            return Err(format!("{one} and {other} are too near to each other: {text}"));
        }
        return Ok(if one < other { first } else { second }.to_owned());
    }
    for (asked, axis, low, high) in [
        (" above or below the ", 1, "above", "below"),
        (" to the left or to the right of the ", 0, "left", "right"),
    ] {
        if let Some((first, second)) =
            text.strip_prefix("Is the ").and_then(|rest| rest.split_once(asked))
        {
            let is_low = off(scene, (first, second), axis)? < 0.0;
            return Ok(if is_low { low } else { high }.to_owned());
        }
    }
    statement(scene, text.strip_prefix("Is the ").ok_or(text)?)
}

/// Answers whether something said of one object or two is so.
pub(crate) fn statement(scene: &Value, text: &str) -> Result<String, String> {
    let yes = |is_yes: bool| Ok(if is_yes { "yes" } else { "no" }.to_owned());
    for (relation, axis, sign) in [
        (" to the left of the ", 0, -1.0),
        (" to the right of the ", 0, 1.0),
        (" above the ", 1, -1.0),
        (" below the ", 1, 1.0),
    ] {
        if let Some(pair) = text.split_once(relation) {
            return yes(off(scene, pair, axis)? * sign > 0.0);
        }
    }
    let (words, color) = text.rsplit_once(' ').ok_or(text)?;
    yes(word(one(scene, words)?, "color") == color)
}

/// Returns how far the first object is to the right of the second, or below it.
fn off(scene: &Value, (first, second): (&str, &str), axis: usize) -> Result<f64, String> {
    let (first, second) = (one(scene, first)?, one(scene, second)?);
    let off = center(first)[axis] - center(second)[axis];
    if std::ptr::eq(first, second) || off.abs() < CLEAR {
        return Err(format!("two places are {off} apart"));
    }
    Ok(off)
}

/// Returns how far an object is from another, or from the camera.
fn distance(scene: &Value, from: &str, words: &str) -> Result<f64, String> {
    let object = one(scene, words)?;
    if from == "camera" {
        return object["depth"].as_f64().ok_or_else(|| words.to_owned());
    }
    let floor = |of: &Value, axis: usize| of["floor"][axis].as_f64().unwrap_or(f64::NAN);
    let other = one(scene, from)?;
    let apart = |axis| floor(object, axis) - floor(other, axis);
    Ok(apart(0).hypot(apart(1)))
}

/// Returns the one object that a phrase fits.
fn one<'a>(scene: &'a Value, words: &str) -> Result<&'a Value, String> {
    for (edge, axis, sign) in [
        (" on the left", 0, -1.0),
        (" on the right", 0, 1.0),
        (" at the top", 1, -1.0),
        (" at the bottom", 1, 1.0),
    ] {
        let Some(words) = words.strip_suffix(edge) else { continue };
        let mut found = fitting(scene, words);
        let at = |object: &Value| center(object)[axis] * sign;
        found.sort_by(|a, b| at(b).total_cmp(&at(a)));
        return match found.as_slice() {
            [first, second, ..] if at(first) - at(second) > CLEAR => Ok(first),
            _ => Err(format!("nothing is clearly `{words}{edge}`")),
        };
    }
    match fitting(scene, words).as_slice() {
        [one] => Ok(one),
        found => Err(format!("`{words}` fits {}", found.len())),
    }
}

/// Returns the objects that a phrase without a place fits.
pub(crate) fn fitting<'a>(scene: &'a Value, words: &str) -> Vec<&'a Value> {
    let fits = |object: &Value, wanted: &str| {
        let kind = word(object, "kind");
        wanted == "object"
            || wanted == "objects"
            || [kind.to_owned(), format!("{kind}s"), format!("{kind}es")]
                .contains(&wanted.to_owned())
            || ["color", "extent", "texture"].iter().any(|name| word(object, name) == wanted)
    };
    let objects = scene["objects"].as_array().map(Vec::as_slice).unwrap_or_default();
    objects.iter().filter(|object| words.split(' ').all(|word| fits(object, word))).collect()
}

/// Returns what a board says.
fn board(scene: &Value, words: &str) -> Result<String, String> {
    let boards = list(scene, "writing");
    let fits = |board: &&&Value| match words.split(' ').collect::<Vec<_>>().as_slice() {
        ["sign"] => true,
        ["sign", .., place] => word(board, "place") == *place,
        [color, "sign"] => word(board, "board") == *color,
        _ => false,
    };
    match boards.iter().filter(fits).collect::<Vec<_>>().as_slice() {
        [one] => Ok(word(one, "text").to_owned()),
        found => Err(format!("`{words}` fits {}", found.len())),
    }
}

fn chart(chart: &Value, text: &str) -> Result<String, String> {
    let entries = list(chart, "entries");
    let value = |entry: &&&Value| entry["value"].as_u64();
    let is_most = text.contains("highest") || text.contains("largest");
    let most = entries.iter().max_by_key(value).ok_or(text)?;
    let found = if is_most { most } else { entries.iter().min_by_key(value).ok_or(text)? };
    let is_alone = entries.iter().filter(|entry| value(entry) == value(&found)).count() == 1;
    let is_about_an_end = !text.starts_with("What is the value of ");
    if is_about_an_end && !is_alone {
        return Err(format!("two are the same: {text}"));
    }
    if text.starts_with("What color is the ") {
        return Ok(word(found, "color").to_owned());
    }
    if text.starts_with("Which ") {
        return Ok(word(found, "label").to_owned());
    }
    let label = text.rsplit(' ').next().unwrap_or_default();
    let named = entries.iter().find(|entry| word(entry, "label") == label).ok_or(text)?;
    named["value"].as_u64().map(|value| value.to_string()).ok_or_else(|| text.to_owned())
}

fn arrow(diagram: &Value, letter: &str) -> Result<String, String> {
    let boxes = list(diagram, "boxes");
    let name = |number: &Value| {
        let number = number.as_u64().and_then(|number| usize::try_from(number).ok());
        number.and_then(|number| boxes.get(number)).and_then(|it| it[0].as_str())
    };
    let arrows = list(diagram, "arrows");
    let found: Vec<_> = arrows.iter().filter(|arrow| name(&arrow[0]) == Some(letter)).collect();
    match found.as_slice() {
        [one] => name(&one[1]).map(ToOwned::to_owned).ok_or_else(|| letter.to_owned()),
        _ => Err(format!("{} arrows from {letter}", found.len())),
    }
}

fn middle<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.strip_prefix(before)?.strip_suffix(after)
}

fn list<'a>(of: &'a Value, name: &str) -> Vec<&'a Value> {
    of[name].as_array().map(|list| list.iter().collect()).unwrap_or_default()
}

fn word<'a>(of: &'a Value, name: &str) -> &'a str {
    of[name].as_str().unwrap_or_default()
}

fn center(object: &Value) -> [f64; 2] {
    let number = |name: &str| object["bounds"][name].as_f64().unwrap_or(f64::NAN);
    [number("x") + number("width") / 2.0, number("y") + number("height") / 2.0]
}
