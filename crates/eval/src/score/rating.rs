//! From marks to the numbers of a benchmark: sums and means, exactly as they are published.

use std::collections::BTreeMap;

use crate::Error;
use crate::report::Table;

/// The categories that make MME's perception.
pub const PERCEPTION: [&str; 10] = [
    "OCR",
    "artwork",
    "celebrity",
    "color",
    "count",
    "existence",
    "landmark",
    "position",
    "posters",
    "scene",
];
/// The categories that make MME's cognition, which `VLMEvalKit` calls reasoning.
pub const COGNITION: [&str; 4] =
    ["code_reasoning", "commonsense_reasoning", "numerical_calculation", "text_translation"];
/// The capabilities of MM-Vet.
pub const CAPABILITIES: [&str; 6] = ["rec", "ocr", "know", "gen", "spat", "math"];
/// What reports call the long names of `MMBench`.
const SHORT: [(&str, &str); 6] = [
    ("coarse_perception", "CP"),
    ("finegrained_perception (instance-level)", "FP-S"),
    ("finegrained_perception (cross-instance)", "FP-C"),
    ("logic_reasoning", "LR"),
    ("relation_reasoning", "RR"),
    ("attribute_reasoning", "AR"),
];

/// A mean of marks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mean {
    sum: f64,
    count: usize,
}

impl Mean {
    /// Adds a mark.
    pub fn add(&mut self, mark: f64) {
        self.sum += mark;
        self.count += 1;
    }

    /// Returns the mean; none of nothing.
    pub fn value(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    /// Returns the mean of 100 for a full mark; none of nothing.
    pub fn percent(self) -> Option<f64> {
        self.value().map(|value| value * 100.0)
    }

    /// Returns how many marks there are.
    pub fn count(self) -> usize {
        self.count
    }
}

/// Names with their order of first appearance.
#[derive(Clone, Debug)]
pub struct Groups<K, V> {
    order: Vec<K>,
    values: BTreeMap<K, V>,
}

impl<K: Ord + Clone, V: Default> Groups<K, V> {
    /// Returns no groups.
    pub fn new() -> Self {
        Self { order: Vec::new(), values: BTreeMap::new() }
    }

    /// Returns a group, a new one if there is none of the name.
    pub fn entry(&mut self, name: &K) -> &mut V {
        if !self.values.contains_key(name) {
            self.order.push(name.clone());
        }
        self.values.entry(name.clone()).or_default()
    }

    /// Returns the groups in order of first appearance.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.order.iter().filter_map(|name| self.values.get_key_value(name))
    }
}

/// One answer of MME.
#[derive(Clone, Copy, Debug)]
pub struct MmeMark<'a> {
    /// The category.
    pub category: &'a str,
    /// The image, which two questions are about.
    pub image: &'a str,
    /// Whether the answer is right.
    pub hit: bool,
}

/// Rates MME: a category has the share of right answers and the share of images with both answers
/// right, at most 200 together.
pub fn rate_mme(marks: &[MmeMark<'_>]) -> Vec<(String, f64)> {
    let mut categories: Groups<&str, Groups<&str, Vec<bool>>> = Groups::default();
    for mark in marks {
        categories.entry(&mark.category).entry(&mark.image).push(mark.hit);
    }
    let score = |images: &Groups<&str, Vec<bool>>| {
        let (mut single, mut both) = (Mean::default(), Mean::default());
        for (_, hits) in images.iter() {
            for hit in hits {
                single.add(f64::from(u8::from(*hit)));
            }
            let pair = matches!(hits[..], [true, true, ..]);
            both.add(f64::from(u8::from(pair)));
        }
        single.percent().unwrap_or_default() + both.percent().unwrap_or_default()
    };
    categories.iter().map(|(name, images)| ((*name).to_owned(), score(images))).collect()
}

/// Adds up the categories of one half of MME; the names of those that are missing come with it.
pub fn sum_mme(scores: &[(String, f64)], half: &[&'static str]) -> (f64, Vec<&'static str>) {
    let mut sum = 0.0;
    let mut missing = Vec::new();
    for name in half {
        match scores.iter().find(|(known, _)| known == name) {
            Some((_, score)) => sum += score,
            None => missing.push(*name),
        }
    }
    (sum, missing)
}

impl<K: Ord + Clone, V: Default> Default for Groups<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

/// One answer of POPE.
#[derive(Clone, Copy, Debug)]
pub struct PopeMark<'a> {
    /// Which splits it counts in, with commas between them.
    pub category: Option<&'a str>,
    /// Whether yes is right.
    pub expected_yes: bool,
    /// Whether yes was said.
    pub said_yes: bool,
    /// Whether the answer is right.
    pub hit: bool,
}

/// The figures of a split of POPE, of 100.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PopeScore {
    /// Twice precision times recall by their sum.
    pub f1: f64,
    /// The share of right answers.
    pub accuracy: f64,
    /// The share of right ones among those that say yes.
    pub precision: f64,
    /// The share of those that say yes among those that should.
    pub recall: f64,
    /// The share of those that say yes.
    pub yes: f64,
    /// How many there are.
    pub count: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Confusion {
    both: usize,
    said: usize,
    expected: usize,
    hits: usize,
    count: usize,
}

impl Confusion {
    fn add(&mut self, mark: &PopeMark<'_>) {
        self.both += usize::from(mark.said_yes && mark.expected_yes);
        self.said += usize::from(mark.said_yes);
        self.expected += usize::from(mark.expected_yes);
        self.hits += usize::from(mark.hit);
        self.count += 1;
    }

    fn score(self) -> PopeScore {
        let ratio = |a: usize, b: usize| if b == 0 { 0.0 } else { a as f64 / b as f64 };
        let (precision, recall) = (ratio(self.both, self.said), ratio(self.both, self.expected));
        let sum = precision + recall;
        let f1 = if sum == 0.0 { 0.0 } else { 2.0 * (precision * recall) / sum };
        PopeScore {
            f1: f1 * 100.0,
            accuracy: ratio(self.hits, self.count) * 100.0,
            precision: precision * 100.0,
            recall: recall * 100.0,
            yes: ratio(self.said, self.count) * 100.0,
            count: self.count,
        }
    }
}

/// Rates POPE: an answer counts once in every split of its own, and as often in `Overall`, which
/// comes first.
pub fn rate_pope(marks: &[PopeMark<'_>]) -> Vec<(String, PopeScore)> {
    let mut overall = Confusion::default();
    let mut splits: Groups<&str, Confusion> = Groups::new();
    for mark in marks {
        match mark.category {
            None => overall.add(mark),
            Some(category) => {
                for split in category.split(',') {
                    overall.add(mark);
                    splits.entry(&split).add(mark);
                }
            }
        }
    }
    let named = splits.iter().map(|(name, counts)| ((*name).to_owned(), counts.score()));
    std::iter::once(("Overall".to_owned(), overall.score())).chain(named).collect()
}

/// A line of MM-Vet's report: name, number of answers, points of 100.
pub type MmVetLine = (String, usize, f64);

/// Rates MM-Vet by capability and by combination of them; the whole comes last in both.
pub fn rate_mmvet(marks: &[(&str, f64)]) -> (Vec<MmVetLine>, Vec<MmVetLine>) {
    // The published scorer counts capabilities and combinations under their names in one table, so
    // that an answer with a single capability counts twice in it. Its numbers are the published
    // ones, so are ours.
    let mut means: BTreeMap<String, Mean> = BTreeMap::new();
    let mut combinations: Vec<String> = Vec::new();
    for (category, grade) in marks {
        let combination = category.replace(',', "_");
        if !combinations.contains(&combination) {
            combinations.push(combination.clone());
        }
        let capabilities = CAPABILITIES.iter().filter(|name| category.contains(**name));
        let names = capabilities.map(|name| (*name).to_owned());
        for name in names.chain(["Overall".to_owned(), combination]) {
            means.entry(name).or_default().add(*grade);
        }
    }
    let line = |name: &str| {
        let mean = means.get(name)?;
        Some((name.to_owned(), mean.count(), mean.percent()?))
    };
    let coarse = CAPABILITIES.iter().filter_map(|name| line(name));
    let fine = combinations.iter().filter_map(|name| line(name));
    let last = line("Overall");
    (coarse.chain(last.clone()).collect(), fine.chain(last).collect())
}

/// A line of LLaVA-Bench's report: name, relative score, the model's score, the reference's.
pub type LlavaLine = (String, f64, f64, f64);

/// Rates LLaVA-Bench, the whole first; failed reviews, marked -1, count.
pub fn rate_llava(marks: &[(&str, f64, f64)]) -> Vec<LlavaLine> {
    let mut groups: Groups<&str, (Mean, Mean)> = Groups::new();
    for (category, reference, model) in marks {
        for name in ["overall", *category] {
            let (of_reference, of_model) = groups.entry(&name);
            of_reference.add(*reference);
            of_model.add(*model);
        }
    }
    let round = |value: f64| (value * 10.0).round_ties_even() / 10.0;
    let line = |(name, (reference, model)): (&&str, &(Mean, Mean))| {
        let (reference, model) = (reference.value()?, model.value()?);
        let relative = model / reference * 100.0;
        Some(((*name).to_owned(), round(relative), round(model * 10.0), round(reference * 10.0)))
    };
    groups.iter().filter_map(line).collect()
}

/// One answer to a question with options.
#[derive(Clone, Copy, Debug)]
pub struct ChoiceMark<'a> {
    /// The split, `none` where the data has none.
    pub split: &'a str,
    /// The group of the category.
    pub level: Option<&'a str>,
    /// The category.
    pub category: Option<&'a str>,
    /// Whether the answer is right.
    pub hit: bool,
}

/// Rates questions with options: the share of right answers by split, of all, of every group and of
/// every category, of 100.
pub fn rate_choice(marks: &[ChoiceMark<'_>]) -> Table {
    let mut splits: Vec<&str> = marks.iter().map(|mark| mark.split).collect();
    splits.sort_unstable();
    splits.dedup();
    let mut overall: BTreeMap<&str, Mean> = BTreeMap::new();
    let mut levels: BTreeMap<&str, BTreeMap<&str, Mean>> = BTreeMap::new();
    let mut categories: BTreeMap<&str, BTreeMap<&str, Mean>> = BTreeMap::new();
    for mark in marks {
        let value = f64::from(u8::from(mark.hit));
        overall.entry(mark.split).or_default().add(value);
        for (groups, name) in [(&mut levels, mark.level), (&mut categories, mark.category)] {
            if let Some(name) = name {
                groups.entry(name).or_default().entry(mark.split).or_default().add(value);
            }
        }
    }
    let row = |name: &str, means: &BTreeMap<&str, Mean>| {
        let values = splits.iter().map(|split| means.get(split).and_then(|mean| mean.percent()));
        (name.to_owned(), values.collect())
    };
    let short = |name: &str| {
        SHORT
            .iter()
            .find(|(long, _)| *long == name)
            .map_or(name.to_owned(), |(_, s)| (*s).to_owned())
    };
    let mut rows = vec![row("Overall", &overall)];
    rows.extend(levels.iter().map(|(name, means)| row(&short(name), means)));
    rows.extend(categories.iter().map(|(name, means)| row(&short(name), means)));
    Table {
        name: "accuracy".to_owned(),
        columns: splits.iter().map(|split| (*split).to_owned()).collect(),
        rows,
    }
}

/// One answer of `MathVista`.
#[derive(Clone, Debug)]
pub struct MathMark<'a> {
    /// The task.
    pub task: &'a str,
    /// The skills; an answer counts in each of them.
    pub skills: Vec<String>,
    /// Whether no judge was needed.
    pub prefetched: bool,
    /// Whether the answer is right.
    pub hit: bool,
}

/// A line of `MathVista`'s report: all, those that needed no judge, right ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct MathCount {
    /// All.
    pub total: usize,
    /// Those that needed no judge.
    pub prefetched: usize,
    /// Right ones.
    pub hits: usize,
}

/// Rates `MathVista`: the whole, then tasks and skills as they come.
pub fn rate_math(marks: &[MathMark<'_>]) -> Vec<(String, MathCount)> {
    let mut groups: Groups<String, MathCount> = Groups::new();
    for mark in marks {
        let own = std::iter::once("Overall").chain(mark.skills.iter().map(String::as_str));
        for name in own.chain([mark.task]) {
            let count = groups.entry(&name.to_owned());
            count.total += 1;
            count.prefetched += usize::from(mark.prefetched);
            count.hits += usize::from(mark.hit);
        }
    }
    groups.iter().map(|(name, count)| (name.clone(), *count)).collect()
}

/// The figures of CV-Bench, of 100; none where there are no questions.
#[derive(Clone, Debug, Default)]
pub struct CvScore {
    /// By source.
    pub sources: Vec<(String, f64)>,
    /// The mean of ADE20K and COCO.
    pub flat: Option<f64>,
    /// `Omni3D`.
    pub spatial: Option<f64>,
    /// The mean of both.
    pub combined: Option<f64>,
}

/// Rates CV-Bench by source.
pub fn rate_cv_bench(marks: &[(&str, bool)]) -> CvScore {
    let mut groups: BTreeMap<&str, Mean> = BTreeMap::new();
    for (source, hit) in marks {
        groups.entry(source).or_default().add(f64::from(u8::from(*hit)));
    }
    let of = |name: &str| groups.get(name).and_then(|mean| mean.percent());
    let flat = match (of("ADE20K"), of("COCO")) {
        (Some(a), Some(b)) => Some(f64::midpoint(a, b)),
        (one, other) => one.or(other),
    };
    let spatial = of("Omni3D");
    let combined = flat.zip(spatial).map(|(flat, spatial)| f64::midpoint(flat, spatial));
    let sources = groups
        .iter()
        .filter_map(|(name, mean)| Some(((*name).to_owned(), mean.percent()?)))
        .collect();
    CvScore { sources, flat, spatial, combined }
}

/// Returns the scores of MME with both sums first.
///
/// # Errors
/// If a category is missing.
pub fn rate_whole_mme(marks: &[MmeMark<'_>]) -> Result<Vec<(String, f64)>, Error> {
    let scores = rate_mme(marks);
    let mut whole = Vec::new();
    for (name, half) in [("perception", &PERCEPTION[..]), ("reasoning", &COGNITION[..])] {
        let (sum, missing) = sum_mme(&scores, half);
        if let Some(category) = missing.first() {
            return Err(Error::MissingCategory { category: (*category).to_owned() });
        }
        whole.push((name.to_owned(), sum));
    }
    whole.extend(scores);
    Ok(whole)
}
