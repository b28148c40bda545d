//! Rooms, by following a ray from the camera through every pixel.

use crate::draw::{Canvas, Point, Rgb, mix, turn};
use crate::scene::room::{CAMERA, FIELD, FORWARD, Space, UP, dot, height, widths};
use crate::scene::{Kind, Object, Scene, Texture};

/// Where the light comes from; of length 1.
const LIGHT: Space = [-0.401, 0.815, -0.418];
/// How far away the wall is.
const WALL: f32 = 3.0;
/// Rays of a pixel, to every side.
const RAYS: usize = 2;

/// What a ray meets.
struct Hit {
    far: f32,
    normal: Space,
    /// How high on the solid, from -1 to 1.
    up: f32,
}

/// A solid with what its rays need.
struct Solid<'a> {
    object: &'a Object,
    floor: [f32; 2],
    turned: Point,
}

/// Draws the room.
pub(super) fn draw(scene: &Scene, size: usize) -> Canvas {
    let solids: Vec<Solid> = scene
        .objects
        .iter()
        .map(|object| {
            let floor = object.floor.unwrap_or_default();
            Solid { object, floor, turned: turn(object.turned) }
        })
        .collect();
    let step = 1.0 / (size * RAYS) as f32;
    Canvas::new(size, |at| {
        let mut sum = [0.0; 3];
        for ray in 0..RAYS * RAYS {
            let shift = |i: usize| (i as f32 - (RAYS - 1) as f32 / 2.0) * step;
            let color =
                look(scene, &solids, [at[0] + shift(ray % RAYS), at[1] + shift(ray / RAYS)]);
            for (sum, value) in sum.iter_mut().zip(color) {
                *sum += value / (RAYS * RAYS) as f32;
            }
        }
        sum
    })
}

/// Returns the colour at a point of the picture.
fn look(scene: &Scene, solids: &[Solid], at: Point) -> Rgb {
    let (right, up) = ((at[0] - 0.5) * 2.0 * FIELD, (0.5 - at[1]) * 2.0 * FIELD);
    let mut ray = [0, 1, 2].map(|axis| FORWARD[axis] + up * UP[axis]);
    ray[0] += right;
    let length = dot(ray, ray).sqrt();
    let ray = ray.map(|value| value / length);
    let mut nearest: Option<(Hit, &Solid)> = None;
    for solid in solids {
        if let Some(hit) = solid.hit(ray)
            && nearest.as_ref().is_none_or(|(other, _)| hit.far < other.far)
        {
            nearest = Some((hit, solid));
        }
    }
    match nearest {
        Some((hit, solid)) => solid.shade(&hit, ray),
        None => behind(scene, solids, ray),
    }
}

/// Returns the colour of the floor or the wall.
fn behind(scene: &Scene, solids: &[Solid], ray: Space) -> Rgb {
    let tint = scene.tint();
    let to_floor = if ray[1] < 0.0 { -CAMERA[1] / ray[1] } else { f32::INFINITY };
    let to_wall = if ray[2] > 0.0 { (WALL - CAMERA[2]) / ray[2] } else { f32::INFINITY };
    if to_wall < to_floor {
        let y = CAMERA[1] + ray[1] * to_wall;
        // A skirting board, then the wall.
        if y < 0.09 {
            return [246.0, 244.0, 240.0];
        }
        return mix(mix(tint, [150.0, 150.0, 170.0], 0.16), tint, (y / 2.4).min(1.0));
    }
    let at = [CAMERA[0] + ray[0] * to_floor, CAMERA[2] + ray[2] * to_floor];
    let board = (at[0] / 0.45).floor().rem_euclid(2.0);
    let wood = mix([226.0, 202.0, 170.0], [234.0, 212.0, 182.0], board);
    let near = mix(wood, [255.0, 250.0, 240.0], 0.12);
    let lit = solids.iter().fold(1.0, |lit: f32, solid| lit * (1.0 - 0.5 * solid.shadow(at)));
    mix([70.0, 58.0, 66.0], near, lit)
}

impl Solid<'_> {
    /// Returns where a ray from the camera meets the solid.
    fn hit(&self, ray: Space) -> Option<Hit> {
        let Object { kind, radius, .. } = *self.object;
        let half = radius * height(kind);
        let mut from = [CAMERA[0] - self.floor[0], CAMERA[1] - half, CAMERA[2] - self.floor[1]];
        let mut ray = ray;
        if kind != Kind::Cube {
            return round(kind, radius, (from, ray));
        }
        let [cos, sin] = self.turned;
        let back = |[x, y, z]: Space| [x * cos + z * sin, y, z * cos - x * sin];
        (from, ray) = (back(from), back(ray));
        let mut hit = cube(half, (from, ray))?;
        let [x, y, z] = hit.normal;
        hit.normal = [x * cos - z * sin, y, x * sin + z * cos];
        Some(hit)
    }

    /// Returns the colour of the surface.
    fn shade(&self, hit: &Hit, ray: Space) -> Rgb {
        let Object { color, texture, .. } = *self.object;
        let stripe = (hit.up * 2.4 + 0.5).floor().rem_euclid(2.0) > 0.5;
        let is_light = texture == Texture::Striped && stripe;
        let base = if is_light { color.light() } else { color.paint() };
        let facing = dot(hit.normal, LIGHT);
        let diffuse = if facing > 0.0 { facing } else { facing * 0.25 };
        let shaded = base.map(|value| value * (0.74 + 0.3 * diffuse));
        // Where the light is mirrored into the camera.
        let mirrored = 2.0 * dot(hit.normal, LIGHT);
        let half = dot([0, 1, 2].map(|i| hit.normal[i] * mirrored - LIGHT[i]), ray.map(|v| -v));
        let shine = half.max(0.0);
        let shine = shine * shine * shine * shine;
        let shine = shine * shine * shine * shine;
        mix(shaded.map(|value| value.min(255.0)), [255.0; 3], 0.4 * shine)
    }

    /// Returns how dark the floor is because of the solid.
    fn shadow(&self, at: [f32; 2]) -> f32 {
        let Object { kind, radius, .. } = *self.object;
        let (foot, head) = widths(kind);
        let wide = radius * if kind == Kind::Cube { 0.95 } else { foot };
        let reach = radius * height(kind) * if head > 0.5 { 1.3 } else { 1.6 };
        let along = [-LIGHT[0] / LIGHT[1] * reach, -LIGHT[2] / LIGHT[1] * reach];
        let off = [at[0] - self.floor[0], at[1] - self.floor[1]];
        let length = along[0] * along[0] + along[1] * along[1];
        let share = ((off[0] * along[0] + off[1] * along[1]) / length).clamp(0.0, 1.0);
        let d = [off[0] - along[0] * share, off[1] - along[1] * share];
        let wide = wide * (1.0 + (0.35 + head * 0.65 - 1.0) * share);
        let distance = (d[0] * d[0] + d[1] * d[1]).sqrt() / wide;
        let soft = ((1.25 - distance) / 0.6).clamp(0.0, 1.0);
        soft * soft * (3.0 - 2.0 * soft) * (1.0 - 0.35 * share)
    }
}

/// Where a ray meets a cube around the origin.
fn cube(half: f32, (from, ray): (Space, Space)) -> Option<Hit> {
    let (mut near, mut far, mut side) = (f32::NEG_INFINITY, f32::INFINITY, 0);
    for axis in 0..3 {
        let one = (-half - from[axis]) / ray[axis];
        let other = (half - from[axis]) / ray[axis];
        if one.min(other) > near {
            (near, side) = (one.min(other), axis);
        }
        far = far.min(one.max(other));
    }
    if near > far || near < 0.0 {
        return None;
    }
    let mut normal = [0.0; 3];
    normal[side] = if ray[side] > 0.0 { -1.0 } else { 1.0 };
    Some(Hit { far: near, normal, up: (from[1] + ray[1] * near) / half })
}

/// Where a ray meets a sphere, cylinder or cone around the origin.
fn round(kind: Kind, radius: f32, (from, ray): (Space, Space)) -> Option<Hit> {
    // The radius at a height y is `wide + lean * y`; a sphere has a term for y of its own.
    let (foot, head) = widths(kind);
    let (wide, lean) = (f32::midpoint(foot, head) * radius, (head - foot) / 2.0);
    let is_sphere = kind == Kind::Sphere;
    let flat = if is_sphere { -1.0 } else { lean * lean };
    let (slope, constant) = if is_sphere { (0.0, radius) } else { (lean * wide, wide) };
    let a = ray[0] * ray[0] + ray[2] * ray[2] - flat * ray[1] * ray[1];
    let b = from[0] * ray[0] + from[2] * ray[2] - flat * from[1] * ray[1] - slope * ray[1];
    let c = from[0] * from[0] + from[2] * from[2]
        - flat * from[1] * from[1]
        - 2.0 * slope * from[1]
        - constant * constant;
    let root = b * b - a * c;
    let mut best: Option<Hit> = None;
    if root >= 0.0 {
        for far in [(-b - root.sqrt()) / a, (-b + root.sqrt()) / a] {
            let at = [0, 1, 2].map(|i| from[i] + ray[i] * far);
            let is_nearer = best.as_ref().is_none_or(|hit| far < hit.far);
            if far > 0.0 && at[1].abs() <= radius && is_nearer {
                let normal = [at[0], -flat * at[1] - slope, at[2]];
                let length = dot(normal, normal).sqrt().max(1e-6);
                let normal = normal.map(|value| value / length);
                best = Some(Hit { far, normal, up: at[1] / radius });
            }
        }
    }
    if kind == Kind::Cylinder && ray[1] < 0.0 {
        let far = (radius - from[1]) / ray[1];
        let (x, z) = (from[0] + ray[0] * far, from[2] + ray[2] * far);
        if x * x + z * z <= wide * wide && best.as_ref().is_none_or(|hit| far < hit.far) {
            best = Some(Hit { far, normal: [0.0, 1.0, 0.0], up: 1.0 });
        }
    }
    best
}
