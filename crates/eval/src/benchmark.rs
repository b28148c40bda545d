//! The benchmarks: their files, where to get them, and what they are called.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a table is asked and scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// MME: pairs of questions with yes and no.
    Mme,
    /// `MMBench`: options in every rotation.
    MmBench,
    /// SEEDBench-Image: options.
    SeedBench,
    /// LLaVA-Bench in the wild: free answers, compared by a judge.
    LlavaBench,
    /// MMMU: options and open questions, with several images.
    Mmmu,
    /// `MathVista`: numbers and options.
    MathVista,
    /// POPE: what is there, with yes and no.
    Pope,
    /// MM-Vet: free answers, graded by a judge.
    MmVet,
    /// `RealWorldQA`: options.
    RealWorldQa,
    /// CV-Bench: options, compared as they are.
    CvBench,
    /// Any other table with options.
    Choice,
    /// Any other table with yes and no.
    YesNo,
}

/// A file of a benchmark as it is published.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// The name, which is the file's without `.tsv`.
    pub name: &'static str,
    /// How it is scored.
    pub family: Family,
    /// Where it comes from.
    pub url: &'static str,
    /// The MD5 of the file.
    pub md5: &'static str,
}

const HOST: &str = "https://opencompass.openxlab.space/utils/";

/// The TSV files of the paper's benchmarks.
pub const PUBLISHED: [Published; 9] = [
    Published {
        name: "MME",
        family: Family::Mme,
        url: "VLMEval/MME.tsv",
        md5: "b36b43c3f09801f5d368627fb92187c3",
    },
    Published {
        name: "MMBench_DEV_EN",
        family: Family::MmBench,
        url: "benchmarks/MMBench/MMBench_DEV_EN.tsv",
        md5: "b6caf1133a01c6bb705cf753bb527ed8",
    },
    Published {
        name: "SEEDBench_IMG",
        family: Family::SeedBench,
        url: "benchmarks/SEEDBench/SEEDBench_IMG.tsv",
        md5: "68017231464752261a2526d6ca3a10c0",
    },
    Published {
        name: "LLaVABench",
        family: Family::LlavaBench,
        url: "VLMEval/LLaVABench.tsv",
        md5: "d382a093f749a697820d3dadd61c8428",
    },
    Published {
        name: "MMMU_DEV_VAL",
        family: Family::Mmmu,
        url: "VLMEval/MMMU_DEV_VAL.tsv",
        md5: "585e8ad75e73f75dcad265dfd0417d64",
    },
    Published {
        name: "MathVista_MINI",
        family: Family::MathVista,
        url: "VLMEval/MathVista_MINI.tsv",
        md5: "f199b98e178e5a2a20e7048f5dcb0464",
    },
    Published {
        name: "POPE",
        family: Family::Pope,
        url: "VLMEval/POPE.tsv",
        md5: "c12f5acb142f2ef1f85a26ba2fbe41d5",
    },
    Published {
        name: "MMVet",
        family: Family::MmVet,
        url: "VLMEval/MMVet.tsv",
        md5: "748aa6d4aa9d4de798306a63718455e3",
    },
    Published {
        name: "RealWorldQA",
        family: Family::RealWorldQa,
        url: "VLMEval/RealWorldQA.tsv",
        md5: "4de008f55dc4fd008ca9e15321dc44b7",
    },
];

/// The name of CV-Bench, which is a folder of parquet files.
pub const CV_BENCH: &str = "CV-Bench";
/// Where CV-Bench comes from.
pub const CV_BENCH_URL: &str = "https://huggingface.co/datasets/nyu-visionx/CV-Bench";
/// The SHA-256 of CV-Bench's two-dimensional part.
pub(crate) const CV_BENCH_2D_SHA256: &str =
    "33196034ef4bf3265cae4a7ff5c4071b2ff1cc21123e8e285c6a91393897ecbc";

impl Published {
    /// Returns the whole address.
    pub fn address(&self) -> String {
        format!("{HOST}{}", self.url)
    }

    /// Finds a benchmark by its name, in any case.
    pub fn find(name: &str) -> Option<&'static Self> {
        PUBLISHED.iter().find(|known| known.name.eq_ignore_ascii_case(name))
    }
}

impl Family {
    /// Returns the family of a dataset by its name: a part of the name decides, as it does for
    /// `VLMEvalKit`.
    pub fn of_name(name: &str) -> Option<Self> {
        let name: String =
            name.to_lowercase().chars().filter(|c| !matches!(c, '-' | '_' | ' ')).collect();
        // MMMU and MMBench have the letters of others in them, and any table may come in rotations.
        [
            ("mmbench", Self::MmBench),
            ("ccbench", Self::MmBench),
            ("circular", Self::MmBench),
            ("mmcr", Self::MmBench),
            ("mmmu", Self::Mmmu),
            ("mmvet", Self::MmVet),
            ("mme", Self::Mme),
            ("pope", Self::Pope),
            ("seedbench", Self::SeedBench),
            ("realworldqa", Self::RealWorldQa),
            ("mathvista", Self::MathVista),
            ("llavabench", Self::LlavaBench),
            ("cvbench", Self::CvBench),
        ]
        .into_iter()
        .find(|(part, _)| name.contains(part))
        .map(|(_, family)| family)
    }

    /// Returns the family of a table by its columns.
    pub fn of_columns(columns: &[String]) -> Option<Self> {
        let has = |name: &str| columns.iter().any(|column| column == name);
        if has("question_type") && has("answer_type") {
            Some(Self::MathVista)
        } else if has("gpt4_ans") {
            Some(Self::LlavaBench)
        } else if has("A") && has("B") {
            Some(Self::Choice)
        } else if has("answer") {
            Some(Self::YesNo)
        } else {
            None
        }
    }

    /// Returns the columns without which a table cannot be asked or scored, beside `index` and
    /// `question`.
    pub fn required(self) -> &'static [&'static str] {
        match self {
            Self::Mme => &["answer", "category", "image_path"],
            Self::Pope | Self::MmVet => &["answer", "category"],
            Self::MmBench | Self::SeedBench | Self::RealWorldQa | Self::Choice => &["A", "answer"],
            Self::Mmmu => &["A", "B", "answer"],
            Self::MathVista => &[
                "question_type",
                "answer_type",
                "choices",
                "answer",
                "answer_option",
                "task",
                "skills",
            ],
            Self::LlavaBench => &["gpt4_ans", "caption", "category"],
            Self::CvBench => &["answer", "source"],
            Self::YesNo => &["answer"],
        }
    }

    /// Returns whether answers choose a letter.
    pub fn is_choice(self) -> bool {
        matches!(
            self,
            Self::MmBench | Self::SeedBench | Self::RealWorldQa | Self::Mmmu | Self::Choice
        )
    }

    /// Returns the longest reply that the authors' code asks for.
    pub fn max_new_tokens(self) -> usize {
        if self == Self::CvBench { 256 } else { 512 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mme => "MME",
            Self::MmBench => "MMBench",
            Self::SeedBench => "SEEDBench",
            Self::LlavaBench => "LLaVABench",
            Self::Mmmu => "MMMU",
            Self::MathVista => "MathVista",
            Self::Pope => "POPE",
            Self::MmVet => "MMVet",
            Self::RealWorldQa => "RealWorldQA",
            Self::CvBench => "CV-Bench",
            Self::Choice => "multiple choice",
            Self::YesNo => "yes or no",
        })
    }
}

/// A number of the paper's tables.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PaperScore {
    /// The column.
    pub column: &'static str,
    /// The best it can be.
    pub best: f64,
    /// AKI-4B (Table 2).
    pub aki_4b: f64,
    /// Modality-mutual attention in the ablation (Table 1).
    pub mutual: f64,
}

/// The columns of the paper's tables.
pub const PAPER: [PaperScore; 12] = [
    PaperScore { column: "MME-P", best: 2000.0, aki_4b: 1491.9, mutual: 1363.7 },
    PaperScore { column: "MME-C", best: 800.0, aki_4b: 362.9, mutual: 315.4 },
    PaperScore { column: "MMB", best: 100.0, aki_4b: 73.1, mutual: 71.8 },
    PaperScore { column: "SEED-I", best: 100.0, aki_4b: 69.4, mutual: 67.1 },
    PaperScore { column: "LLaVA-W", best: 100.0, aki_4b: 74.6, mutual: 59.6 },
    PaperScore { column: "MMMU", best: 100.0, aki_4b: 38.7, mutual: 37.3 },
    PaperScore { column: "MathV-mini", best: 100.0, aki_4b: 32.1, mutual: 26.4 },
    PaperScore { column: "POPE", best: 100.0, aki_4b: 86.9, mutual: 82.7 },
    PaperScore { column: "MM-Vet", best: 100.0, aki_4b: 40.8, mutual: 30.2 },
    PaperScore { column: "RealWorldQA", best: 100.0, aki_4b: 58.9, mutual: 52.3 },
    PaperScore { column: "CV-2D", best: 100.0, aki_4b: 62.1, mutual: 57.8 },
    PaperScore { column: "CV-3D", best: 100.0, aki_4b: 71.8, mutual: 64.1 },
];
