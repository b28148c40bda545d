//! Outlines: closed lines of points.

/// A place: to the right and down, both from 0 to 1 on a canvas.
pub(crate) type Point = [f32; 2];
/// Closed lines.
pub(crate) type Path = Vec<Vec<Point>>;

/// Returns a point of the unit circle; a whole turn is 1, from the right by way of the bottom.
pub(crate) fn turn(share: f32) -> Point {
    let angle = share * core::f32::consts::TAU;
    [libm::cosf(angle), libm::sinf(angle)]
}

/// Returns a closed line through points.
pub(crate) fn polygon(points: &[Point]) -> Path {
    vec![points.to_vec()]
}

/// Returns a rectangle by two corners.
pub(crate) fn rectangle(x0: f32, y0: f32, x1: f32, y1: f32) -> Path {
    polygon(&[[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
}

/// Returns a rectangle with round corners.
pub(crate) fn rounded(corner: Point, opposite: Point, radius: f32) -> Path {
    let ([x0, y0], [x1, y1]) = (corner, opposite);
    let middles = [[x1 - radius, y1 - radius], [x0 + radius, y1 - radius]]
        .into_iter()
        .chain([[x0 + radius, y0 + radius], [x1 - radius, y0 + radius]]);
    let point = |(i, middle): (usize, Point)| {
        (0..=6).map(move |step| {
            let [x, y] = turn((i as f32 + step as f32 / 6.0) / 4.0);
            [middle[0] + radius * x, middle[1] + radius * y]
        })
    };
    vec![middles.enumerate().flat_map(point).collect()]
}

/// Returns an ellipse.
pub(crate) fn ellipse(middle: Point, rx: f32, ry: f32) -> Path {
    regular(middle, (rx, ry), 48)
}

fn regular(middle: Point, (rx, ry): (f32, f32), corners: usize) -> Path {
    let point = |i: usize| {
        let [x, y] = turn(i as f32 / corners as f32);
        [middle[0] + rx * x, middle[1] + ry * y]
    };
    vec![(0..corners).map(point).collect()]
}

/// Returns a circle.
pub(crate) fn circle(middle: Point, radius: f32) -> Path {
    ellipse(middle, radius, radius)
}

/// Returns what lies between two circles.
pub(crate) fn ring(middle: Point, outer: f32, inner: f32) -> Path {
    let mut path = circle(middle, outer);
    path.extend(circle(middle, inner).into_iter().map(|line| line.into_iter().rev().collect()));
    path
}

/// Returns a line of some width through points, with round or square ends.
pub(crate) fn stroke(points: &[Point], width: f32, is_round: bool) -> Path {
    let half = width / 2.0;
    let mut path = Path::new();
    for pair in points.windows(2) {
        let ([x0, y0], [x1, y1]) = (pair[0], pair[1]);
        let (dx, dy) = (x1 - x0, y1 - y0);
        let length = (dx * dx + dy * dy).sqrt().max(1e-6);
        let (nx, ny) = (-dy / length * half, dx / length * half);
        path.push(vec![
            [x0 - nx, y0 - ny],
            [x1 - nx, y1 - ny],
            [x1 + nx, y1 + ny],
            [x0 + nx, y0 + ny],
        ]);
    }
    for [x, y] in points {
        if is_round {
            path.extend(regular([*x, *y], (half, half), 12));
        } else {
            path.extend(rectangle(x - half, y - half, x + half, y + half));
        }
    }
    union(path)
}

/// Turns all lines the same way around, so that what they enclose together is filled.
pub(crate) fn union(mut path: Path) -> Path {
    for line in &mut path {
        let next = line.iter().cycle().skip(1);
        let area: f32 = line.iter().zip(next).map(|(a, b)| a[0] * b[1] - b[0] * a[1]).sum();
        if area < 0.0 {
            line.reverse();
        }
    }
    path
}
