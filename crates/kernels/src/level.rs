//! Which instructions the kernels may use.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};

/// An instruction set that the kernels are compiled for, the plainest of a kind of processors first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// What the compiler makes of plain loops.
    Portable,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// AVX2 with dot products of bytes.
    AvxVnni,
    /// AVX-512 F, BW and VL.
    Avx512,
    /// AVX-512 with dot products of bytes.
    Avx512Vnni,
    /// AVX-512 with dot products of bytes and of bf16.
    Avx512Bf16,
    /// As [`Level::Avx512Bf16`], with a unit for products of matrices of bf16 and of bytes.
    Amx,
    /// NEON, which every 64-bit Arm processor has.
    Neon,
    /// NEON with dot products of bytes.
    NeonDotprod,
}

/// The level in use: 0 before it is known, else its place in [`Level::ALL`] and one.
static LEVEL: AtomicU8 = AtomicU8::new(0);

/// A level that does not exist, or that this processor lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownLevel {
    /// What was asked for.
    pub name: String,
}

impl Level {
    /// Every level, the plainest of a kind of processors first.
    pub const ALL: [Self; 9] = [
        Self::Portable,
        Self::Avx2,
        Self::AvxVnni,
        Self::Avx512,
        Self::Avx512Vnni,
        Self::Avx512Bf16,
        Self::Amx,
        Self::Neon,
        Self::NeonDotprod,
    ];

    /// Returns the name used in settings and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avx-vnni",
            Self::Avx512 => "avx512",
            Self::Avx512Vnni => "avx512-vnni",
            Self::Avx512Bf16 => "avx512-bf16",
            Self::Amx => "amx",
            Self::Neon => "neon",
            Self::NeonDotprod => "neon-dotprod",
        }
    }

    /// Returns whether this processor has the instructions.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = || {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            };
            let avx512 = || {
                avx2()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
            };
            let vnni = || avx512() && is_x86_feature_detected!("avx512vnni");
            let bf16 = || vnni() && is_x86_feature_detected!("avx512bf16");
            match self {
                Self::Portable => true,
                Self::Avx2 => avx2(),
                Self::AvxVnni => avx2() && is_x86_feature_detected!("avxvnni"),
                Self::Avx512 => avx512(),
                Self::Avx512Vnni => vnni(),
                Self::Avx512Bf16 => bf16(),
                Self::Amx => bf16() && has_tiles(),
                Self::Neon | Self::NeonDotprod => false,
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            match self {
                Self::Portable | Self::Neon => true,
                Self::NeonDotprod => std::arch::is_aarch64_feature_detected!("dotprod"),
                _ => false,
            }
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        {
            self == Self::Portable
        }
    }

    /// Returns whether products of many rows of bf16, and attention of many rows over bf16, are computed by
    /// pairs of bf16, all operands rounded to it.
    pub fn has_blocks_of_bf16(self) -> bool {
        matches!(self, Self::Avx512Bf16 | Self::Amx)
    }

    /// Returns whether many rows meet weights of few bits as bytes that have a scale for 256 elements, as
    /// [`linear_packed`](crate::linear_packed) says.
    pub fn has_blocks_of_bytes(self) -> bool {
        matches!(self, Self::Avx512Vnni | Self::Avx512Bf16 | Self::Amx)
    }

    /// Returns the levels of this processor, the plainest first.
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|level| level.is_available()).collect()
    }

    /// Returns the fastest level of this processor.
    pub fn fastest() -> Self {
        let is_fast = |level: &Self| match level {
            // Where a product of bf16 pairs takes two slots, f32 is both faster and exacter.
            Self::Avx512Bf16 => !is_intel(),
            _ => true,
        };
        let available = Self::available().into_iter();
        available.rev().find(is_fast).unwrap_or(Self::Portable)
    }

    /// Returns the level in use: the fastest of this processor unless [`set_level`] chose another.
    pub fn current() -> Self {
        match LEVEL.load(Ordering::Relaxed) {
            0 => {
                let fastest = Self::fastest();
                LEVEL.store(fastest as u8 + 1, Ordering::Relaxed);
                fastest
            }
            stored => Self::ALL[usize::from(stored) - 1],
        }
    }
}

/// Returns whether the processor has tiles of bf16 and of bytes and the system lets this process use them.
///
/// Linux keeps a thread's tiles only of processes that have asked for it, as this does once.
#[cfg(target_arch = "x86_64")]
fn has_tiles() -> bool {
    use std::arch::x86_64::__cpuid_count;
    use std::sync::OnceLock;

    static HAS_TILES: OnceLock<bool> = OnceLock::new();
    *HAS_TILES.get_or_init(|| {
        const TILES_OF_BF16_AND_BYTES: u32 = 1 << 22 | 1 << 24 | 1 << 25;
        if __cpuid_count(0, 0).eax < 7 {
            return false;
        }
        __cpuid_count(7, 0).edx & TILES_OF_BF16_AND_BYTES == TILES_OF_BF16_AND_BYTES
            && may_use_tiles()
    })
}

/// Asks the system for the tiles.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn may_use_tiles() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call changes what the system keeps of a thread and nothing of the program; a system
    // that does not know it, or whose processor lacks the tiles, returns an error.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

/// Other systems are not known to let a process have them.
#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
fn may_use_tiles() -> bool {
    false
}

/// Returns whether Intel made the processor.
fn is_intel() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let leaf = std::arch::x86_64::__cpuid(0);
        let vendor = [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes);
        vendor.concat() == b"GenuineIntel"
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// Makes all kernels use `level` from now on.
///
/// # Errors
/// If this processor lacks the instructions.
pub fn set_level(level: Level) -> Result<(), UnknownLevel> {
    if !level.is_available() {
        return Err(UnknownLevel { name: level.name().to_owned() });
    }
    LEVEL.store(level as u8 + 1, Ordering::Relaxed);
    Ok(())
}

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|level| level.name() == name);
        found.ok_or_else(|| UnknownLevel { name: name.to_owned() })
    }
}

impl fmt::Display for UnknownLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Level::available().into_iter().map(Level::name).collect();
        let names = names.join("`, `");
        write!(
            f,
            "this processor has no instruction level `{}`, expected one of `{names}`",
            self.name
        )
    }
}

impl std::error::Error for UnknownLevel {}
