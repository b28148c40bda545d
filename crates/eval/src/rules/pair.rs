//! The two scores in a judge's review.

use super::python::float;

/// Returns the scores of the reference and of the model, `-1` each if the first line is not two
/// numbers with one space or one comma between them.
pub fn parse_pair(review: &str) -> (f64, f64) {
    const FAILED: (f64, f64) = (-1.0, -1.0);
    let line = review.split('\n').next().unwrap_or_default().replace(',', " ");
    let parts: Vec<&str> = line.split(' ').collect();
    let [reference, model] = parts[..] else { return FAILED };
    float(reference).zip(float(model)).unwrap_or(FAILED)
}
