//! Captions: they name the main things of a picture.

use crate::language::{Says, a, alike, capital, list, number, phrase, plural};
use crate::random::Stream;
use crate::refer::APART;
use crate::scene::{
    Backdrop, Bounds, Chart, ChartKind, Diagram, Entry, Object, Scene, Texture, View, Writing,
};

/// Returns a caption; different numbers word it differently.
pub fn caption(scene: &Scene, seed: u64, index: u64) -> String {
    let key = crate::random::Key { seed, place: u64::MAX, index, attempt: 0 };
    caption_with(scene, &mut Stream::new(key))
}

pub(crate) fn caption_with(scene: &Scene, stream: &mut Stream) -> String {
    match scene.view {
        View::Sign => return sign(scene, stream.chance(50)),
        View::Chart | View::Diagram => return figure(scene),
        View::Flat | View::Room => {}
    }
    let things = list(&groups(scene, stream.chance(50)));
    let behind = match (scene.view, scene.backdrop) {
        (View::Room, _) => " in a room",
        (_, Backdrop::Meadow) => " on a meadow",
        (_, Backdrop::Beach) => " on a beach",
        (_, Backdrop::Paper) => " on squared paper",
        _ => "",
    };
    match stream.below(4) {
        0 => format!("A picture of {things}{behind}."),
        1 => format!("There {} {things}{behind}.", verb(scene)),
        2 => format!("{}{behind}.", capital(&things)),
        _ => match beside(scene) {
            Some(relation) => format!("{}{behind}. {relation}", capital(&things)),
            None => format!("The picture shows {things}{behind}."),
        },
    }
}

/// Returns the different kinds of objects with their colours, such as `red star`.
pub(crate) fn names(scene: &Scene) -> Vec<String> {
    let mut names: Vec<String> =
        scene.objects.iter().map(|object| phrase(object, Says::NAME)).collect();
    names.sort();
    names.dedup();
    names
}

/// Names every object with all that can be seen of it: place by place, in an order that is said, or
/// as many as there are of a look.
pub(crate) fn inventory(scene: &Scene, stream: &mut Stream) -> String {
    match scene.view {
        View::Sign => return sign(scene, true),
        View::Chart | View::Diagram => return figure(scene),
        View::Flat | View::Room => {}
    }
    match stream.below(6) {
        0..3 => return places(scene),
        3 => return format!("{}.", capital(&list(&groups(scene, true)))),
        _ => {}
    }
    let is_room = scene.view == View::Room;
    let is_across = stream.chance(50);
    let key = |object: &Object| match (is_across, is_room) {
        (true, _) => object.bounds.middle()[0],
        (false, true) => object.depth,
        (false, false) => object.bounds.middle()[1],
    };
    let mut objects: Vec<&Object> = scene.objects.iter().collect();
    objects.sort_by(|a, b| key(a).total_cmp(&key(b)));
    let order = match (is_across, is_room) {
        (true, _) => "From left to right",
        (false, true) => "From near to far",
        (false, false) => "From top to bottom",
    };
    let things = objects.into_iter().map(|object| thing(object, is_room));
    format!("{order}: {}.", things.collect::<Vec<_>>().join(", "))
}

/// Names the things of a scene with few.
pub(crate) fn lesson(scene: &Scene) -> String {
    match scene.objects.as_slice() {
        [] => sign(scene, true),
        [object] => format!("{}.", capital(&thing(object, scene.view == View::Room))),
        _ => places(scene),
    }
}

/// Says what is at every place where something is, row by row.
///
/// A place that is named first says where to look for what comes next, which is learned sooner than
/// to find the next thing in an order.
pub(crate) fn places(scene: &Scene) -> String {
    let is_room = scene.view == View::Room;
    let all_at = |wanted: &str| {
        let mut things: Vec<_> = scene
            .objects
            .iter()
            .filter(|object| place(&object.bounds, is_room) == wanted)
            .map(details)
            .collect();
        things.sort();
        (!things.is_empty()).then(|| format!("{}: {}.", capital(&at(wanted)), things.join(", ")))
    };
    PLACES.iter().flatten().filter_map(|wanted| all_at(wanted)).collect::<Vec<_>>().join(" ")
}

/// Says all that can be seen of an object, and where it is.
fn thing(object: &Object, is_room: bool) -> String {
    format!("{} {}", details(object), at(place(&object.bounds, is_room)))
}

/// Says all that can be seen of an object.
pub(crate) fn details(object: &Object) -> String {
    let texture = object.texture != Texture::Plain;
    phrase(object, Says { extent: true, texture, ..Says::NAME })
}

/// Places of a picture, by rows.
const PLACES: [[&str; 3]; 3] = [
    ["top left", "top", "top right"],
    ["left", "middle", "right"],
    ["bottom left", "bottom", "bottom right"],
];

/// Returns where an object is in the picture.
pub(crate) fn place(bounds: &Bounds, is_room: bool) -> &'static str {
    let third = |axis: usize| match bounds.middle()[axis] {
        at if at < 0.37 => 0,
        at if at > 0.63 => 2,
        _ => 1,
    };
    PLACES[if is_room { 1 } else { third(1) }][third(0)]
}

/// Returns a place with the words before it.
pub(crate) fn at(place: &str) -> String {
    let before = match place {
        "left" | "right" => "on",
        "middle" => "in",
        _ => "at",
    };
    format!("{before} the {place}")
}

/// Captions of boards quote them.
fn sign(scene: &Scene, has_colors: bool) -> String {
    let board = |writing: &Writing| {
        let Writing { text, color, board, .. } = writing;
        let board = if has_colors {
            format!("{} sign in {} letters", board.word(), color.word())
        } else {
            "sign".to_owned()
        };
        format!("{} that says {text}", a(&board))
    };
    let boards: Vec<_> = scene.writing.iter().map(board).collect();
    format!("{}.", capital(&list(&boards)))
}

/// Captions of charts and diagrams say what the values or arrows are.
fn figure(scene: &Scene) -> String {
    if let Some(Chart { kind, entries }) = &scene.chart {
        let entry = |entry: &Entry| match kind {
            ChartKind::Bar => format!("{} at {}", entry.color.word(), entry.value),
            ChartKind::Line => format!("{} at {}", entry.label, entry.value),
            ChartKind::Pie => format!("{} slice", a(entry.color.word())),
        };
        let entries: Vec<_> = entries.iter().map(entry).collect();
        let kind = ["bar", "line", "pie"][*kind as usize];
        return format!("A {kind} chart with {}.", list(&entries));
    }
    let Some(Diagram { boxes, arrows }) = &scene.diagram else {
        return "A picture.".to_owned();
    };
    let letters: Vec<_> = boxes.iter().map(|(letter, _)| letter.to_string()).collect();
    let arrow =
        |(from, to): &(usize, usize)| format!("from {} to {}", boxes[*from].0, boxes[*to].0);
    let arrows: Vec<_> = arrows.iter().map(arrow).collect();
    format!("A diagram of boxes {} with arrows {}.", list(&letters), list(&arrows))
}

/// Returns `is` or `are`, by the first group.
fn verb(scene: &Scene) -> &'static str {
    let first = &scene.objects[0];
    let num = scene.objects.iter().filter(|other| alike(other, first, Says::NAME)).count();
    if num > 1 { "are" } else { "is" }
}

/// Returns a phrase for every group of objects of one kind and colour, in the order of objects.
pub(crate) fn groups(scene: &Scene, has_details: bool) -> Vec<String> {
    let mut groups: Vec<(&Object, usize)> = Vec::new();
    for object in &scene.objects {
        match groups.iter_mut().find(|(first, _)| alike(first, object, Says::NAME)) {
            Some((_, num)) => *num += 1,
            None => groups.push((object, 1)),
        }
    }
    let words = |(object, num): &(&Object, usize)| {
        let all = |says| {
            let same_name = scene.objects.iter().filter(|other| alike(other, object, Says::NAME));
            same_name.clone().count() == same_name.filter(|o| alike(o, object, says)).count()
        };
        let mut says = Says::NAME;
        says.texture = has_details
            && object.texture != Texture::Plain
            && all(Says { texture: true, ..Says::NAME });
        says.extent = has_details && all(Says { extent: true, ..Says::NAME });
        if *num == 1 {
            a(&phrase(object, says))
        } else {
            format!("{} {}", number(*num), plural(object, says))
        }
    };
    groups.iter().map(words).collect()
}

/// Returns a sentence about two objects with names of their own.
fn beside(scene: &Scene) -> Option<String> {
    let is_alone = |object: &&Object| {
        scene.objects.iter().filter(|other| alike(other, object, Says::NAME)).count() == 1
    };
    let mut alone = scene.objects.iter().filter(is_alone);
    let (first, second) = (alone.next()?, alone.next()?);
    let [dx, dy] = [0, 1].map(|axis| first.bounds.middle()[axis] - second.bounds.middle()[axis]);
    let is_across = dx.abs() > dy.abs() || scene.view == View::Room;
    if (if is_across { dx } else { dy }).abs() < APART {
        return None;
    }
    let relation = if is_across {
        if dx < 0.0 { "to the left of" } else { "to the right of" }
    } else if dy < 0.0 {
        "above"
    } else {
        "below"
    };
    let name = |object| phrase(object, Says::NAME);
    Some(format!("The {} is {relation} the {}.", name(first), name(second)))
}
