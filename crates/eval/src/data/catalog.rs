//! What is in a folder of benchmarks, and what is missing.

use std::path::{Path, PathBuf};

use super::cv_bench;
use crate::benchmark::{CV_BENCH, CV_BENCH_URL, PUBLISHED, Published};
use crate::{Error, Family};

/// A benchmark of the paper, or another table of a folder.
#[derive(Clone, Debug)]
pub struct Found {
    /// The name.
    pub name: String,
    /// How it is scored; none if only its columns tell.
    pub family: Option<Family>,
    /// Where it is; none if it is missing.
    pub path: Option<PathBuf>,
    /// Where to get it.
    pub address: Option<String>,
}

/// Lists the benchmarks of the paper, and what else is in a folder.
pub fn catalog(root: &Path) -> Vec<Found> {
    let existing = |path: PathBuf| path.exists().then_some(path);
    let mut list: Vec<Found> = PUBLISHED
        .iter()
        .map(|known| Found {
            name: known.name.to_owned(),
            family: Some(known.family),
            path: existing(root.join(format!("{}.tsv", known.name)))
                .or_else(|| existing(root.join(format!("{}_local.tsv", known.name)))),
            address: Some(known.address()),
        })
        .collect();
    let folder = [root.join(CV_BENCH), root.join("CV_Bench"), root.to_owned()]
        .into_iter()
        .find(|folder| folder.is_dir() && !cv_bench::files_of(folder).is_empty());
    list.push(Found {
        name: CV_BENCH.to_owned(),
        family: Some(Family::CvBench),
        path: folder,
        address: Some(CV_BENCH_URL.to_owned()),
    });
    let mut others: Vec<Found> = std::fs::read_dir(root)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_stem()?.to_string_lossy().into_owned();
            let is_table = path.extension().is_some_and(|ending| ending == "tsv");
            let stem = name.trim_end_matches("_local");
            let is_known = Published::find(stem).is_some_and(|known| known.name == stem);
            (is_table && !is_known).then(|| Found {
                family: Family::of_name(&name),
                name,
                path: Some(path),
                address: None,
            })
        })
        .collect();
    others.sort_by(|a, b| a.name.cmp(&b.name));
    list.extend(others);
    list
}

/// Finds a benchmark by its name in a folder, or by its path.
///
/// # Errors
/// If there is none.
pub fn find(name: &str, root: &Path) -> Result<PathBuf, Error> {
    let listed = catalog(root);
    let same = |found: &&Found| found.name.eq_ignore_ascii_case(name);
    let by_family = |found: &&Found| {
        found.family.is_some() && found.family == Family::of_name(name) && found.address.is_some()
    };
    let known = listed.iter().find(same).or_else(|| {
        // `mmbench` is MMBench_DEV_EN, whatever else is there.
        listed.iter().find(by_family).filter(|_| !Path::new(name).exists())
    });
    match known {
        Some(Found { path: Some(path), .. }) => Ok(path.clone()),
        Some(Found { address: Some(address), name, .. }) if !Path::new(name).exists() => {
            Err(Error::File {
                action: "read",
                path: root.join(format!("{name}.tsv")),
                source: std::io::Error::new(
                    std::io::ErrorKind::NotFound,
                    format!("no such file; get it from {address}"),
                ),
            })
        }
        _ if Path::new(name).exists() => Ok(PathBuf::from(name)),
        _ => {
            let mut names: Vec<&str> = listed.iter().map(|found| found.name.as_str()).collect();
            names.dedup();
            Err(Error::UnknownBenchmark { name: name.to_owned(), known: names.join(", ") })
        }
    }
}
