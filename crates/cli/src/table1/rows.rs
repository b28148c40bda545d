//! The rows of the table: recipes, those of the paper's rows in the program.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};
use train::data::SegmentOrder;
use train::recipe::{Phase, Recipe};

use crate::args::Table1Args;
use crate::report::Failure;

/// A row of the paper's table: name, what the paper calls it, recipe.
type Paper = (&'static str, &'static str, &'static str);

macro_rules! recipe {
    ($name:literal) => {
        include_str!(concat!("../../../../recipes/table1/miniature/", $name, ".toml"))
    };
}

/// The rows in the paper's order.
const PAPER: [Paper; 8] = [
    ("causal", "(I&T)PT + (I&T)SFT", recipe!("causal")),
    ("cca", "CCA", recipe!("cca")),
    ("without-text-image-pt", "(w/o T&I)PT", recipe!("without-text-image-pt")),
    ("without-image-text-pt", "(w/o I&T)PT", recipe!("without-image-text-pt")),
    ("without-text-image-sft", "(w/o T&I)SFT", recipe!("without-text-image-sft")),
    ("without-image-text-sft", "(w/o I&T)SFT", recipe!("without-image-text-sft")),
    ("dot", "DOT", recipe!("dot")),
    ("mma", "MMA", recipe!("mma")),
];

/// Returns the names of the paper's rows.
pub(super) fn of_paper() -> impl Iterator<Item = &'static str> {
    PAPER.iter().map(|(name, ..)| *name)
}

/// The recipe of the connector that rows begin with, where it is in a folder of recipes, and the one
/// in the program.
const CONNECTOR: (&str, &str) =
    ("start/connector.toml", include_str!("../../../../recipes/table1/start/connector.toml"));

/// Returns what trains the connector. Of the changes to rows it takes those of how it is computed.
///
/// # Errors
/// If the recipe cannot be read or is not valid.
pub(super) fn connector(args: &Table1Args) -> Result<Row> {
    let own = args.recipes.as_ref().map(|folder| folder.join(CONNECTOR.0));
    let text = match own.filter(|path| path.is_file()) {
        Some(path) => std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read `{}`", path.display()))?,
        None => CONNECTOR.1.to_owned(),
    };
    let sets = args.sets.iter().filter(|set| set.starts_with("compute."));
    Row::parse(("connector", "connector"), &text, &sets.cloned().collect::<Vec<_>>())
}

/// The row that others are compared with.
pub(super) const BASELINE: &str = "causal";
/// Where the recipes have the world and the model to start with.
const WORLD: &str = "worlds/miniature";

/// A row.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// The name of its recipe.
    pub(super) name: String,
    /// What the paper calls it.
    pub(super) label: String,
    recipe: Recipe,
}

impl Row {
    fn parse((name, label): (&str, &str), text: &str, sets: &[String]) -> Result<Self> {
        let recipe = Recipe::parse(text, name, sets)?;
        Ok(Self { name: name.to_owned(), label: label.to_owned(), recipe })
    }

    /// Returns the phases one after the other.
    ///
    /// # Errors
    /// If the recipe lacks something.
    pub(super) fn phases(&self) -> Result<Vec<Phase>> {
        Ok(self.recipe.resolve()?.1)
    }

    /// Returns the folders of the world that it reads.
    ///
    /// # Errors
    /// If the recipe lacks something.
    pub(super) fn folders(&self) -> Result<Vec<String>> {
        let mut folders = Vec::new();
        for data in self.phases()?.iter().flat_map(|phase| &phase.data) {
            let files = data.files.iter().chain(&data.images);
            let paths = data.shards.iter().map(Path::new).chain(files.map(PathBuf::as_path));
            let inside = paths.filter_map(|path| path.strip_prefix(WORLD).ok());
            folders.extend(inside.filter_map(folder_of));
        }
        Ok(folders)
    }

    /// Returns how many phases it begins with are those of another row too.
    fn num_shared(&self, other: &Self) -> usize {
        let pairs = self.recipe.phases.iter().zip(&other.recipe.phases);
        pairs.take_while(|(own, other)| own == other).count()
    }

    /// Returns how the row is asked: the policy, and whether the text comes first, as the last thing
    /// that it learned.
    ///
    /// # Errors
    /// If the recipe has no phase.
    pub(super) fn asked(&self) -> Result<(String, bool)> {
        let phases = self.phases()?;
        let last = phases.last().with_context(|| format!("row `{}` has no phase", self.name))?;
        let text_first = last.stage.order == SegmentOrder::TextImage;
        Ok((last.stage.attention.name().to_owned(), text_first))
    }

    /// Returns the recipe of one run: `share` of its steps in each of its first `num_phases` phases.
    ///
    /// # Errors
    /// If the recipe lacks something.
    pub(super) fn recipe(&self, run: &RunOf<'_>, num_phases: usize) -> Result<Recipe> {
        let mut recipe = self.recipe.resolve()?.0;
        recipe.phases.truncate(num_phases);
        recipe.seed = run.seed;
        recipe.model.init = run.start.display().to_string();
        let world = run.world.display().to_string();
        for phase in &mut recipe.phases {
            if let Some(schedule) = &mut phase.schedule {
                schedule.steps = share_of(schedule.steps, run.share);
                schedule.warmup_steps = schedule.warmup_steps.min(schedule.steps / 10);
            }
            for data in &mut phase.data {
                let moved = |path: &str| path.replacen(WORLD, &world, 1);
                data.shards.iter_mut().for_each(|path| *path = moved(path));
                for path in data.files.iter_mut().chain(&mut data.images) {
                    *path = moved(&path.display().to_string()).into();
                }
            }
        }
        Ok(recipe)
    }
}

/// Something to be trained: the first phases of a row, all of them or those that other rows begin
/// with too and that are trained once for all of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// The first of the rows that begin with it, by its place.
    pub(super) row: usize,
    /// How many phases it has.
    pub(super) num_phases: usize,
    /// Whether the row ends with it.
    pub(super) is_whole: bool,
}

/// Returns what is trained for rows, shorter stretches first.
pub(super) fn stretches(rows: &[Row]) -> Vec<Stretch> {
    let whole = |at: usize| rows[at].recipe.phases.len();
    let mut found = Vec::new();
    for row in 0..rows.len() {
        found.push(Stretch { row, num_phases: whole(row), is_whole: true });
        for other in row + 1..rows.len() {
            let num_phases = rows[row].num_shared(&rows[other]);
            for num_phases in 1..=num_phases {
                let (first, at_end) = canonical(rows, row, num_phases);
                let stretch = Stretch { row: first, num_phases, is_whole: at_end };
                if !found.contains(&stretch) {
                    found.push(stretch);
                }
            }
        }
    }
    found.sort_by_key(|stretch| stretch.num_phases);
    found
}

/// Returns the same in the order in which they are best begun: first what the most phases wait for,
/// one after the other.
pub(super) fn in_order(rows: &[Row]) -> Vec<Stretch> {
    let all = stretches(rows);
    let starts_with = |end: &Stretch, stretch: &Stretch| {
        let mut starts = std::iter::successors(Some(*end), |at| before(rows, &all, *at));
        starts.any(|start| start == *stretch)
    };
    let mut ordered = all.clone();
    ordered.sort_by_cached_key(|stretch| {
        let known = before(rows, &all, *stretch).map_or(0, |first| first.num_phases);
        let ends = all.iter().filter(|end| starts_with(end, stretch));
        std::cmp::Reverse(ends.map(|end| end.num_phases - known).max())
    });
    ordered
}

/// Returns what the first phases of a row are known as: the row that has no others, if there is one,
/// else the first that begins with them.
fn canonical(rows: &[Row], row: usize, num_phases: usize) -> (usize, bool) {
    let has = |at: &usize| *at == row || rows[row].num_shared(&rows[*at]) >= num_phases;
    let sharing: Vec<usize> = (0..rows.len()).filter(has).collect();
    let whole = sharing.iter().find(|at| rows[**at].recipe.phases.len() == num_phases);
    let first = whole.or(sharing.first()).copied().unwrap_or(row);
    (first, whole.is_some())
}

/// Returns the longest stretch that another begins with and that is trained on its own.
pub(super) fn before(rows: &[Row], all: &[Stretch], stretch: Stretch) -> Option<Stretch> {
    let is_first = |other: &&Stretch| {
        let shared = if other.row == stretch.row {
            stretch.num_phases
        } else {
            rows[stretch.row].num_shared(&rows[other.row])
        };
        other.num_phases < stretch.num_phases && other.num_phases <= shared
    };
    all.iter().filter(is_first).max_by_key(|other| other.num_phases).copied()
}

/// What a run adds to its row's recipe.
#[derive(Debug)]
pub(super) struct RunOf<'a> {
    /// Where every random choice starts.
    pub(super) seed: u64,
    /// Which share of the recipe's steps.
    pub(super) share: f64,
    /// The world.
    pub(super) world: &'a Path,
    /// The model that it starts with.
    pub(super) start: &'a Path,
}

/// Returns the first folder of a path that leads into the world.
pub(super) fn folder_of(path: &Path) -> Option<String> {
    match path.components().next()? {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    }
}

/// Returns how many steps a share of them is.
pub(super) fn share_of(steps: u64, share: f64) -> u64 {
    #[allow(clippy::cast_sign_loss, reason = "it is at least one")]
    let steps = (steps as f64 * share).round().max(1.0) as u64;
    steps
}

/// Returns the rows that are asked for.
///
/// # Errors
/// If there is no such row, or a recipe is not valid.
pub(super) fn rows(args: &Table1Args) -> Result<Vec<Row>> {
    let all = match &args.recipes {
        None => PAPER
            .iter()
            .map(|(name, label, text)| Row::parse((name, label), text, &args.sets))
            .collect(),
        Some(folder) => of_folder(folder, &args.sets),
    }?;
    for name in &args.rows {
        if !all.iter().any(|row| row.name == *name) {
            let known: Vec<&str> = all.iter().map(|row| row.name.as_str()).collect();
            let failure = Failure::usage(format!("there is no row `{name}`"));
            return Err(failure.hint(format!("the rows are {}", known.join(", "))).into());
        }
    }
    let is_wanted = |row: &Row| args.rows.is_empty() || args.rows.contains(&row.name);
    Ok(all.into_iter().filter(is_wanted).collect())
}

/// Reads every recipe of a folder: the paper's rows in the paper's order, then the others by name.
fn of_folder(folder: &Path, sets: &[String]) -> Result<Vec<Row>> {
    let read = || format!("cannot read `{}`", folder.display());
    let mut rows = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(read)? {
        let path = entry.with_context(read)?.path();
        if path.extension().is_none_or(|ending| ending != "toml") {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let place = PAPER.iter().position(|(known, ..)| *known == name);
        let label = place.map_or(name.as_str(), |at| PAPER[at].1);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read `{}`", path.display()))?;
        rows.push((place.unwrap_or(PAPER.len()), Row::parse((&name, label), &text, sets)?));
    }
    if rows.is_empty() {
        return Err(Failure::new(format!("`{}` holds no recipes", folder.display())).into());
    }
    rows.sort_by(|(a, first), (b, second)| (a, &first.name).cmp(&(b, &second.name)));
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use train::recipe::StageKind;

    fn paper() -> Vec<Row> {
        let parse = |(name, label, text): &Paper| Row::parse((name, label), text, &[]).unwrap();
        PAPER.iter().map(parse).collect()
    }

    #[test]
    fn every_phase_of_a_kind_has_the_same_data_and_steps_in_every_row() {
        let rows = paper();
        let mut known: [Option<Phase>; 2] = [None, None];
        for row in &rows {
            for phase in row.phases().unwrap() {
                let place = usize::from(phase.stage.kind == StageKind::Instructions);
                let first = known[place].get_or_insert_with(|| phase.clone());
                assert_eq!(phase.data, first.data, "{}", row.name);
                assert_eq!(phase.schedule, first.schedule, "{}", row.name);
                assert_eq!(phase.batch, first.batch, "{}", row.name);
            }
        }
    }

    #[test]
    fn the_double_order_takes_twice_the_phases_and_is_asked_with_the_image_first() {
        let rows = paper();
        let num_phases: Vec<usize> = rows.iter().map(|row| row.phases().unwrap().len()).collect();
        assert_eq!(num_phases, [2, 2, 3, 3, 3, 3, 4, 2]);
        let asked: Vec<(String, bool)> = rows.iter().map(|row| row.asked().unwrap()).collect();
        for ((policy, text_first), row) in asked.iter().zip(&rows) {
            let expected = match row.name.as_str() {
                "mma" => "mutual",
                "cca" => "concentric",
                _ => "causal",
            };
            assert_eq!(policy, expected, "{}", row.name);
            assert_eq!(*text_first, row.name == "without-image-text-sft", "{}", row.name);
        }
    }

    #[test]
    fn what_rows_begin_with_alike_is_trained_once() {
        let rows = paper();
        let all = stretches(&rows);
        let named = |stretch: &Stretch| {
            let Stretch { row, num_phases, is_whole } = *stretch;
            (rows[row].name.clone(), num_phases, is_whole)
        };
        let shared: Vec<_> = all.iter().filter(|it| !it.is_whole).map(named).collect();
        let expected = [("causal", 1), ("without-image-text-pt", 1), ("without-text-image-sft", 2)];
        assert_eq!(shared, expected.map(|(name, num)| (name.to_owned(), num, false)));
        assert_eq!(all.len(), rows.len() + shared.len());
        // Captions are 4 phases for all rows, those of the concentric row its own, instructions 10.
        let own = |it: &Stretch| {
            it.num_phases - before(&rows, &all, *it).map_or(0, |first| first.num_phases)
        };
        assert_eq!(all.iter().map(own).sum::<usize>(), 14);
        let row = |name: &str| all.iter().find(|it| it.is_whole && rows[it.row].name == name);
        let first = before(&rows, &all, *row("dot").unwrap()).unwrap();
        assert_eq!(named(&first), ("without-image-text-sft".to_owned(), 3, true));
        let first = before(&rows, &all, *row("mma").unwrap()).unwrap();
        assert_eq!(named(&first), ("causal".to_owned(), 1, false));
    }

    #[test]
    fn what_the_most_phases_wait_for_is_begun_first() {
        let rows = paper();
        let all = in_order(&rows);
        let named = |it: &Stretch| (rows[it.row].name.as_str(), it.num_phases);
        // The double order's four phases, the two of the concentric row, and last what ends at once.
        assert_eq!(named(&all[0]), ("without-image-text-pt", 1));
        let place = |name: &str| all.iter().position(|it| it.is_whole && named(it).0 == name);
        assert!(place("cca") < place("mma") && place("cca") < place("causal"));
        assert_eq!(all.len(), stretches(&rows).len());
        for (at, stretch) in all.iter().enumerate() {
            assert!(before(&rows, &all, *stretch).is_none_or(|first| all[..at].contains(&first)));
        }
    }

    #[test]
    fn only_what_is_read_of_the_world_is_drawn() {
        let mut folders: Vec<String> =
            paper().iter().flat_map(|row| row.folders().unwrap()).collect();
        folders.sort();
        folders.dedup();
        let expected =
            ["aokvqa", "coco", "gqa", "kale", "lessons", "llava", "ocr", "ocrvqa", "vqa", "vsr"];
        assert_eq!(folders, expected);
        assert_eq!(folder_of(Path::new("counting/test")).as_deref(), Some("counting"));
        assert_eq!(folder_of(Path::new("/elsewhere")), None);
    }

    #[test]
    fn a_run_has_a_share_of_the_steps_and_its_own_world() {
        let run =
            RunOf { seed: 7, share: 0.01, world: Path::new("a/world"), start: Path::new("start") };
        let (recipe, phases) = paper()[7].recipe(&run, 2).unwrap().resolve().unwrap();
        assert_eq!((recipe.seed, recipe.model.init.as_str()), (7, "start"));
        assert_eq!((phases[0].schedule.steps, phases[0].schedule.warmup_steps), (80, 8));
        assert_eq!(phases[0].data[0].shards[0], "a/world/lessons");
        assert_eq!(phases[1].data[0].images.as_deref(), Some(Path::new("a/world/coco/train2014")));
    }
}
