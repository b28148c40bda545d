//! Position ids.

use sequence::{AttentionPolicy, Layout, Role, image_grid, image_rings};

use crate::support::{IMAGE, PADDING, build, cells, every_layout, ring};

#[test]
fn positions_count_up_from_the_first_token_and_concentric_images_count_their_rings() {
    every_layout(|pieces| {
        let (layout, cells) = (build(pieces), cells(pieces));
        for policy in AttentionPolicy::ALL {
            let concentric = policy == AttentionPolicy::ConcentricCausal;
            let mut next = 0;
            let mut started = false;
            let mut expected = Vec::new();
            let mut highest = 0;
            for &cell in &cells {
                started |= cell.kind != PADDING;
                let in_rings = concentric && cell.kind == IMAGE;
                let position = if in_rings { next + ring(cell) } else { next };
                expected.push(position as u32);
                highest = if cell.offset == 0 { position } else { highest.max(position) };
                if in_rings && cell.offset + 1 == cell.len {
                    next = highest + 1;
                } else if !in_rings {
                    next += usize::from(started);
                }
            }
            assert_eq!(policy.plan(&layout).positions(), expected, "{policy} of {pieces:?}");
        }
    });
}

#[test]
fn text_resumes_half_a_grid_after_each_concentric_image() {
    let layout = Layout::new()
        .padding(3)
        .text(Role::User, 2)
        .image(144)
        .image(144)
        .text(Role::User, 1)
        .image(9)
        .reply_mark();
    let plan = AttentionPolicy::ConcentricCausal.plan(&layout);
    let at = |row: usize| plan.positions()[row];
    assert_eq!((at(0), at(3), at(4)), (0, 0, 1));
    assert_eq!((at(5), at(5 + 13), at(5 + 5 * 12 + 5)), (2, 3, 7));
    assert_eq!((at(149), at(149 + 143)), (8, 8));
    assert_eq!((at(293), at(294), at(294 + 4), at(303)), (14, 15, 16, 17));
}

#[test]
fn the_grid_is_as_square_as_the_number_of_tokens_allows() {
    let grids = [0, 1, 2, 7, 12, 36, 64, 144].map(image_grid);
    assert_eq!(grids, [(0, 0), (1, 1), (1, 2), (1, 7), (3, 4), (6, 6), (8, 8), (12, 12)]);
    assert_eq!(image_rings(9), [0, 0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(image_rings(144).into_iter().max(), Some(5));
    assert!(image_rings(0).is_empty());
}
