//! The files of a world.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use miniature::{Error, Observer, Size, Summary, WorldConfig, generate};

/// Watches nothing.
struct Nobody;

impl Observer for Nobody {
    fn begin(&self, _: usize) {}
    fn advance(&self) {}
    fn is_interrupted(&self) -> bool {
        false
    }
}

/// Stops after some files.
struct Impatient(std::sync::atomic::AtomicUsize);

impl Observer for Impatient {
    fn begin(&self, _: usize) {}
    fn advance(&self) {}
    fn is_interrupted(&self) -> bool {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) >= 3
    }
}

fn config(folder: &Path, seed: u64) -> WorldConfig {
    WorldConfig { output: folder.to_owned(), seed, size: Size::Tiny, image_size: 48 }
}

fn write(folder: &Path, threads: usize) -> Summary {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    pool.install(|| generate(&config(folder, 1), &Nobody)).expect("a world can be written")
}

/// Returns every file of a folder.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(at) = pending.pop() {
        for entry in fs::read_dir(at).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                pending.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("inside").display().to_string();
                found.insert(name, fs::read(&path).expect("a file"));
            }
        }
    }
    found
}

#[test]
fn the_number_of_threads_changes_nothing_and_a_stopped_world_is_gone_on_with() {
    let folders = [0; 3].map(|_| tempfile::tempdir().expect("a folder"));
    let one = write(folders[0].path(), 1);
    assert_eq!(one, write(folders[1].path(), 4));
    let whole = files(folders[0].path());
    assert!(whole == files(folders[1].path()), "the bytes differ");

    let stopped = generate(&config(folders[2].path(), 1), &Impatient(0.into()));
    assert!(matches!(stopped, Err(Error::Interrupted)));
    assert!(files(folders[2].path()).len() < whole.len());
    assert_eq!(write(folders[2].path(), 2), one);
    assert!(whole == files(folders[2].path()), "the bytes differ");
}

#[test]
fn a_folder_of_another_world_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("world.json"), "{\"seed\":2}\n").expect("a file");
    let error = generate(&config(folder.path(), 1), &Nobody).expect_err("it is another world");
    assert!(error.to_string().contains("found {\"seed\":2}"), "{error}");
}
