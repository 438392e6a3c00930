//! The text of examples in the documentation of names that each runtime's module has.

/// The text of an example, from what stands before and behind it and from the lines of its code: the same lines for each
/// runtime, with the words that differ between them.
#[doc(hidden)]
#[macro_export]
macro_rules! example {
    ($begin:literal, $end:literal, $($code:tt)*) => {
        concat!(
            "\n# Example\n```\n# fn main() -> Result<(), Box<dyn std::error::Error>> {\n",
            $begin,
            $($code)*,
            $end,
            "# }\n```"
        )
    };
}
