//! Which examples are about the same picture.

/// The examples of every picture, in the order of the set.
#[derive(Debug, Default)]
pub(super) struct Siblings {
    /// The examples, those of a picture side by side.
    examples: Vec<u32>,
    /// For each picture where its examples end.
    ends: Vec<u32>,
}

impl Siblings {
    /// Sorts the examples of a set by the number of their picture; those without one are alone.
    pub(super) fn new(pictures: &[Option<u32>]) -> Self {
        let num_pictures = pictures.iter().flatten().max().map_or(0, |last| *last as usize + 1);
        let mut ends = vec![0_u32; num_pictures];
        for picture in pictures.iter().flatten() {
            ends[*picture as usize] += 1;
        }
        let mut sum = 0;
        for end in &mut ends {
            // Where the examples of the picture start, until they are filled in.
            let count = std::mem::replace(end, sum);
            sum += count;
        }
        let mut examples = vec![0; sum as usize];
        for (example, picture) in pictures.iter().enumerate() {
            let Some(picture) = picture else { continue };
            let end = &mut ends[*picture as usize];
            examples[*end as usize] = example as u32;
            *end += 1;
        }
        Self { examples, ends }
    }

    /// Returns the examples of a picture.
    pub(super) fn of(&self, picture: u32) -> &[u32] {
        let picture = picture as usize;
        let start = picture.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.examples[start as usize..self.ends[picture] as usize]
    }
}
