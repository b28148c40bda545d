//! What the questions of the miniature world take: how many things an answer has to bring together.

/// What a question takes, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// One thing, which is named, and something of it.
    Attribute,
    /// One sign, and what it says.
    Text,
    /// Whether the picture has a thing.
    Existence,
    /// How many it has of a kind.
    Count,
    /// Two things: on which side, above or below, nearer to the camera.
    Relation,
    /// Which of two things is closer to a third.
    Distance,
    /// Bars, points, boxes and arrows.
    Chart,
    /// All of the picture, in sentences.
    Description,
}

impl Kind {
    /// Every kind in order.
    pub(super) const ALL: [Self; 8] = [
        Self::Attribute,
        Self::Text,
        Self::Existence,
        Self::Count,
        Self::Relation,
        Self::Distance,
        Self::Chart,
        Self::Description,
    ];

    /// Returns what tables call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Attribute => "one thing: colour, size, pattern, name",
            Self::Text => "one sign: what it says",
            Self::Existence => "all of the picture: is there one",
            Self::Count => "all of the picture: how many",
            Self::Relation => "two things: on which side, which is nearer",
            Self::Distance => "three things: which of two is closer to the third",
            Self::Chart => "charts and diagrams",
            Self::Description => "descriptions",
        }
    }

    /// Returns the kind of a question of the world, by its words.
    pub(super) fn of(question: &str) -> Option<Self> {
        let question = question.to_lowercase();
        let has = |parts: &[&str]| parts.iter().any(|part| question.contains(part));
        Some(if has(&["describe the image", "what can you see", "description of the image"]) {
            Self::Description
        } else if has(&["the diagram", "the arrow", "value of", "est slice"])
            || has(&[" bar ", " bar?", " point ", " point?"])
        {
            Self::Chart
        } else if has(&["closer to the camera"]) {
            Self::Relation
        } else if has(&["is closer to"]) {
            Self::Distance
        } else if has(&["to the left", "to the right", " above ", " below "]) {
            Self::Relation
        } else if has(&["how many", "the number of"]) {
            Self::Count
        } else if has(&["is there a"]) {
            Self::Existence
        } else if has(&[" say ", " say?"]) {
            Self::Text
        } else if has(&["what color", "what pattern", "small or large", "what is the", "is the "]) {
            Self::Attribute
        } else {
            return None;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_of_the_world_have_the_kind_of_what_they_take() {
        for (question, kind) in [
            ("Is the small mushroom red? Please answer yes or no.", Some(Kind::Attribute)),
            ("What color is the cube on the left?", Some(Kind::Attribute)),
            ("What is the purple object on the right?", Some(Kind::Attribute)),
            ("Is the boat at the bottom small or large?", Some(Kind::Attribute)),
            ("What pattern does the triangle have?", Some(Kind::Attribute)),
            ("Does the blue sign say QUEEN? Please answer yes or no.", Some(Kind::Text)),
            ("What does the red sign say?", Some(Kind::Text)),
            ("Is there an orange heart in the image?", Some(Kind::Existence)),
            ("How many cones are there in the image?", Some(Kind::Count)),
            ("Is the number of yellow objects in the image 1?", Some(Kind::Count)),
            ("Is the heart above the ring?", Some(Kind::Relation)),
            ("Is the cube to the left or to the right of the sphere?", Some(Kind::Relation)),
            ("Which is closer to the camera, the cube or the cone?", Some(Kind::Relation)),
            ("Which is closer to the cone, the black object or the cube?", Some(Kind::Distance)),
            ("Hint: Please answer.\nQuestion: What is the value of bar C?", Some(Kind::Chart)),
            ("What color is the lowest bar?", Some(Kind::Chart)),
            ("What color is the largest slice?", Some(Kind::Chart)),
            ("Which point is the highest?", Some(Kind::Chart)),
            ("<image 1> How many boxes are there in the diagram?", Some(Kind::Chart)),
            ("Which box does the arrow from box A point to?", Some(Kind::Chart)),
            ("Describe the image in detail.", Some(Kind::Description)),
            ("Why?", None),
        ] {
            assert_eq!(Kind::of(question), kind, "{question}");
        }
        let names: std::collections::BTreeSet<&str> = Kind::ALL.map(Kind::name).into();
        assert_eq!(names.len(), Kind::ALL.len());
    }
}
