//! `heliograph site samples`: the plants that `heliograph simulate` plays.

use super::{put, tokens::TokensFile};
use crate::{
    access::{Access, AccessArgs, explain},
    say,
    simulate::sample_sites,
};
use clap::Args;
use heliograph_contract::v1::PutMode;
use std::path::PathBuf;

/// Register the sample plants for `heliograph simulate` and write their upload tokens to a file.
///
/// Sites whose token is in the file keep it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  heliograph site samples --tokens data/tokens.json\n  \
                        heliograph site samples --sites 50 --tokens data/tokens.json")]
pub struct SamplesArgs {
    /// How many; the five sample plants, then copies of them.
    #[arg(long, default_value_t = 5)]
    sites: usize,
    /// JSON object, site → token; made readable by its owner only.
    #[arg(long)]
    tokens: PathBuf,
    #[command(flatten)]
    access: AccessArgs,
}

/// # Errors
/// When the registry refuses or the file cannot be written.
pub async fn run(args: SamplesArgs) -> anyhow::Result<()> {
    let mut file = TokensFile::open(&args.tokens)?;
    let outcome = Access::within(&args.access, async |access| {
        for site in sample_sites(args.sites) {
            let id = site.id.clone();
            // A site that was registered elsewhere has a token that we cannot know.
            let rotate = !file.tokens.contains_key(&id);
            let put = put::site(access, site, PutMode::Unspecified, rotate).await;
            let token = put.map_err(|s| explain(&s))?.token;
            if !token.is_empty() {
                file.tokens.insert(id, token);
            }
        }
        Ok(())
    })
    .await;
    // Also what was made before a failure: it is shown only once.
    file.save()?;
    outcome?;
    say::line(format_args!("{} sites registered", args.sites))
}
