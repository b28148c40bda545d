//! Rows that may lie apart.

/// Rows of f32, so many numbers from the start of one to that of the next: a part of the columns of a matrix,
/// or all of them.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// From the first number of the first row on.
    pub data: &'a [f32],
    /// Numbers from one row to the next.
    pub stride: usize,
}

impl<'a> Rows<'a> {
    /// Returns the first numbers of a row.
    ///
    /// # Panics
    /// If there are not as many.
    #[inline(always)]
    pub(crate) fn row(self, row: usize, width: usize) -> &'a [f32] {
        &self.data[row * self.stride..][..width]
    }
}
