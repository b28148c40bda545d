//! Attention as a value: position ids, and for each row the columns it sees.

use std::fmt;
use std::ops::Range;

/// The position ids and visible columns of consecutive rows (queries) of one sequence.
///
/// Rows are the positions `first_row .. first_row + num_rows` of the sequence, columns are its
/// positions `0 .. num_columns`. Ranges of a row are ascending, disjoint and not adjacent; a row of
/// the plan of a real sequence has a handful of them, so a plan takes memory proportional to the
/// length of the sequence, never to its square.
///
/// The `Display` form draws the mask, `#` where a row sees a column and `.` where it does not.
#[derive(Clone, PartialEq, Eq)]
pub struct AttentionPlan {
    first_row: usize,
    num_columns: usize,
    positions: Vec<u32>,
    /// Compressed rows: row `r` sees `ranges[row_starts[r]..row_starts[r + 1]]`.
    ranges: Vec<Range<u32>>,
    row_starts: Vec<u32>,
}

impl AttentionPlan {
    /// Returns the plan of `len` positions that each see themselves and what comes before.
    ///
    /// ```
    /// assert_eq!(sequence::AttentionPlan::causal(3).to_string(), "#..\n##.\n###\n");
    /// ```
    pub fn causal(len: usize) -> Self {
        let mut plan = Self::with_rows(0, len, len);
        for row in 0..len {
            plan.push_row(row as u32, std::iter::once(0..row + 1));
        }
        plan
    }

    /// Returns the plan of `num_rows` queries that each see all of `num_columns` keys, as in an
    /// encoder or a cross attention.
    ///
    /// ```
    /// assert_eq!(sequence::AttentionPlan::full(2, 3).to_string(), "###\n###\n");
    /// ```
    pub fn full(num_rows: usize, num_columns: usize) -> Self {
        let mut plan = Self::with_rows(0, num_rows, num_columns);
        for row in 0..num_rows {
            plan.push_row(row as u32, std::iter::once(0..num_columns));
        }
        plan
    }

    /// Returns a plan without rows yet; rows are added by [`Self::push_row`].
    pub(crate) fn with_rows(first_row: usize, num_rows: usize, num_columns: usize) -> Self {
        let mut row_starts = Vec::with_capacity(num_rows + 1);
        row_starts.push(0);
        Self {
            first_row,
            num_columns,
            positions: Vec::with_capacity(num_rows),
            ranges: Vec::with_capacity(num_rows),
            row_starts,
        }
    }

    /// Appends a row that sees `visible`: ascending ranges, empty and touching ones allowed.
    pub(crate) fn push_row(
        &mut self,
        position: u32,
        visible: impl IntoIterator<Item = Range<usize>>,
    ) {
        let row_start = self.ranges.len();
        for range in visible {
            if range.is_empty() {
                continue;
            }
            let range = range.start as u32..range.end as u32;
            match self.ranges[row_start..].last_mut() {
                Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
                _ => self.ranges.push(range),
            }
        }
        self.positions.push(position);
        self.row_starts.push(self.ranges.len() as u32);
    }

    /// Returns the position in the sequence of the first row.
    pub fn first_row(&self) -> usize {
        self.first_row
    }

    /// Returns the number of rows (queries).
    pub fn num_rows(&self) -> usize {
        self.positions.len()
    }

    /// Returns the number of columns (keys).
    pub fn num_columns(&self) -> usize {
        self.num_columns
    }

    /// Returns the position id of each row, for rotary embeddings.
    pub fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// Returns the columns that the `row`-th row of this plan sees.
    ///
    /// # Panics
    /// If `row` is not below [`Self::num_rows`].
    pub fn visible(&self, row: usize) -> &[Range<u32>] {
        &self.ranges[self.row_starts[row] as usize..self.row_starts[row + 1] as usize]
    }

    /// Returns the ranges of all rows in one slice.
    pub fn ranges(&self) -> &[Range<u32>] {
        &self.ranges
    }

    /// Returns, for row `r`, where in [`Self::ranges`] its ranges start, at `[r]`, and end, at `[r + 1]`.
    pub fn row_starts(&self) -> &[u32] {
        &self.row_starts
    }

    /// Returns the mask, row by row: `num_rows * num_columns` values.
    pub fn to_dense(&self) -> Vec<bool> {
        let mut dense = vec![false; self.num_rows() * self.num_columns];
        if self.num_columns > 0 {
            for (row, cells) in dense.chunks_exact_mut(self.num_columns).enumerate() {
                for range in self.visible(row) {
                    cells[range.start as usize..range.end as usize].fill(true);
                }
            }
        }
        dense
    }

    /// Returns how many leading positions of two sequences have the same keys and values, given
    /// that their first `num_equal` inputs are equal.
    ///
    /// `self` and `later` must both start at row 0. A position is reusable if in both plans it has
    /// the same position id and sees the same columns, all of them reusable themselves: what a
    /// cache holds for it then does not depend on anything that differs.
    pub fn reusable_prefix(&self, later: &Self, num_equal: usize) -> usize {
        debug_assert_eq!((self.first_row, later.first_row), (0, 0));
        let limit = num_equal.min(self.num_rows()).min(later.num_rows());
        let same = (0..limit)
            .take_while(|&row| {
                self.positions[row] == later.positions[row]
                    && self.visible(row) == later.visible(row)
            })
            .count();
        // A kept row must not see a column that is not kept; cutting one may cut others before it.
        let mut kept = same;
        loop {
            let first_leak = (0..kept)
                .find(|&row| self.visible(row).last().is_some_and(|last| last.end as usize > kept));
            match first_leak {
                Some(row) => kept = row,
                None => return kept,
            }
        }
    }
}

impl fmt::Display for AttentionPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in 0..self.num_rows() {
            let mut line = vec![b'.'; self.num_columns];
            for range in self.visible(row) {
                line[range.start as usize..range.end as usize].fill(b'#');
            }
            writeln!(f, "{}", String::from_utf8_lossy(&line))?;
        }
        Ok(())
    }
}

impl fmt::Debug for AttentionPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttentionPlan")
            .field("first_row", &self.first_row)
            .field("num_rows", &self.num_rows())
            .field("num_columns", &self.num_columns)
            .field("num_ranges", &self.ranges.len())
            .finish_non_exhaustive()
    }
}
