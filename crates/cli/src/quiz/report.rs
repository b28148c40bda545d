//! Scores of a quiz: by topic and by what the model card promises, with how sure they are.

use std::collections::BTreeMap;

use serde::Serialize;

/// The topic of captions: how many of the kinds of objects were named.
pub(super) const CAPTIONS: &str = "caption";

/// Which topics belong together.
const GROUPS: [(&str, &[&str]); 5] = [
    (
        "yes/no and attributes",
        &["existence", "says", "number", "hue", "position", "color", "kind", "texture", "size"],
    ),
    ("counting up to five", &["count"]),
    ("spatial relations", &["position", "side", "depth", "distance"]),
    ("reading", &["reading"]),
    ("objects named in captions", &["caption"]),
];

/// Of how many standard deviations an interval of 95 % has its half.
const SPREAD: f64 = 1.96;

/// How often a model was right, by topic.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally(BTreeMap<&'static str, [usize; 2]>);

impl Tally {
    /// Takes up one answer.
    pub(super) fn add(&mut self, topic: &'static str, is_right: bool) {
        let [right, asked] = self.0.entry(topic).or_default();
        *right += usize::from(is_right);
        *asked += 1;
    }

    fn of(&self, topics: &[&str]) -> [usize; 2] {
        let found = topics.iter().filter_map(|topic| self.0.get(topic));
        found.fold([0, 0], |sum, score| [sum[0] + score[0], sum[1] + score[1]])
    }
}

/// A score, in percent, with the interval of 95 % around it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Score {
    right: usize,
    asked: usize,
    percent: f64,
    low: f64,
    high: f64,
}

impl Score {
    /// The interval is Wilson's, which is right for few answers and for shares near 0 and 1 too.
    fn new([right, asked]: [usize; 2]) -> Self {
        let (share, num) = (right as f64 / asked.max(1) as f64, asked.max(1) as f64);
        let square = SPREAD * SPREAD;
        let middle = (share + square / (2.0 * num)) / (1.0 + square / num);
        let half = SPREAD / (1.0 + square / num)
            * (share * (1.0 - share) / num + square / (4.0 * num * num)).sqrt();
        let percent = |share: f64| (share * 1000.0).round() / 10.0;
        let (low, high) = (percent(middle - half), percent(middle + half));
        Self { right, asked, percent: percent(share), low, high }
    }
}

/// Topics that belong together, over all seeds and for each of them.
#[derive(Clone, Debug, Serialize)]
struct Group {
    #[serde(flatten)]
    all: Score,
    /// The percentages, in the order of the seeds.
    by_seed: Vec<f64>,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    seed: u64,
    seeds: Vec<u64>,
    /// Pictures of each seed.
    pictures: u64,
    topics: BTreeMap<&'static str, Score>,
    /// By what the model card promises, in percent.
    groups: BTreeMap<&'static str, f64>,
    /// The same with how sure it is.
    intervals: BTreeMap<&'static str, Group>,
}

impl Report {
    /// Sums up what was counted with each seed.
    pub(super) fn new(seeds: Vec<u64>, pictures: u64, tallies: &[Tally]) -> Self {
        let sum = |topics: &[&str]| {
            let all = tallies.iter().map(|tally| tally.of(topics));
            Score::new(all.fold([0, 0], |sum, score| [sum[0] + score[0], sum[1] + score[1]]))
        };
        let names = tallies.iter().flat_map(|tally| tally.0.keys().copied());
        let topics = names.map(|topic| (topic, sum(&[topic]))).collect();
        let mut intervals = BTreeMap::new();
        for (name, parts) in GROUPS {
            let by_seed = tallies.iter().map(|tally| Score::new(tally.of(parts)).percent).collect();
            intervals.insert(name, Group { all: sum(parts), by_seed });
        }
        intervals.retain(|_, group| group.all.asked > 0);
        let groups = intervals.iter().map(|(name, group)| (*name, group.all.percent)).collect();
        let seed = seeds.first().copied().unwrap_or_default();
        Self { seed, seeds, pictures, topics, groups, intervals }
    }

    /// Writes the scores down.
    pub(super) fn table(&self) -> String {
        let line = |name: &str, score: &Score| {
            let Score { right, asked, percent, low, high } = score;
            let interval = format!("{low:.1} to {high:.1}");
            format!("{name:<28}{percent:>6.1} %  {interval:>13}  {right} of {asked}\n")
        };
        let mut text = format!("{:<28}{:>8}  {:>13}\n", "", "right", "95 % interval");
        text.extend(self.topics.iter().map(|(name, score)| line(name, score)));
        text.push('\n');
        text.extend(self.intervals.iter().map(|(name, group)| line(name, &group.all)));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{Report, Score, Tally};

    #[test]
    fn an_interval_is_wide_for_few_answers_and_stays_between_none_and_all() {
        // The values of statsmodels' proportion_confint(..., method="wilson").
        let Score { percent, low, high, .. } = Score::new([8, 10]);
        assert_eq!((percent, low, high), (80.0, 49.0, 94.3));
        let Score { percent, low, high, .. } = Score::new([800, 1000]);
        assert_eq!((percent, low, high), (80.0, 77.4, 82.4));
        let Score { percent, low, high, .. } = Score::new([10, 10]);
        assert_eq!((percent, low, high), (100.0, 72.2, 100.0));
    }

    #[test]
    fn seeds_are_summed_up_and_told_apart() {
        let mut tallies = [Tally::default(), Tally::default()];
        for is_right in [true, true, true, false] {
            tallies[0].add("count", is_right);
        }
        tallies[1].add("count", false);
        let report = Report::new(vec![7, 8], 2, &tallies);
        assert_eq!(report.topics["count"], Score::new([3, 5]));
        let group = &report.intervals["counting up to five"];
        assert_eq!((group.all, group.by_seed.as_slice()), (Score::new([3, 5]), &[75.0, 0.0][..]));
        // Nothing is said about what was not asked.
        assert_eq!(report.groups.len(), 1);
    }
}
