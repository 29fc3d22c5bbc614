//! Whoever copies what `docs/loggers.md` and the README show gets what they promise: the blocks
//! are run as they are, against a running `heliograph up`.

use crate::support::{Installation, OnLog, binary, data_dir, on_either_log, python, repository};
use anyhow::{Context, bail, ensure};
use heliograph_contract::v1::{QueryReadingsRequest, Step};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

on_either_log!(
    every_block_of_the_page_for_loggers_does_what_the_page_says,
    the_first_hour_of_the_readme_works,
);

const GATEWAY: &str = "http://127.0.0.1:7070";

#[derive(Debug, PartialEq)]
struct Block {
    language: String,
    text: String,
}

/// The fenced blocks of a document.
fn blocks(document: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let text = lines.by_ref().take_while(|line| *line != "```");
            let text = text.map(|line| format!("{line}\n")).collect();
            blocks.push(Block { language: language.to_owned(), text });
        }
    }
    blocks
}

/// Whether `text` is as `shown`, where `…` stands for anything.
fn is_as_shown(text: &str, shown: &str) -> bool {
    let mut rest = text.trim();
    let mut parts = shown.trim().split('…');
    let Some(after) = rest.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    rest = after;
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        let found = if parts.peek().is_none() { rest.rfind(part) } else { rest.find(part) };
        let Some(at) = found else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty()
}

/// A person's shell and directory beside a running installation.
struct Reader {
    up: Installation,
    home: PathBuf,
    path: String,
}

impl Reader {
    fn new(on: OnLog, data_dir: &Path) -> anyhow::Result<Self> {
        let home = data_dir.join("home");
        fs::create_dir(&home)?;
        fs::write(home.join("state"), "")?;
        let mut path = vec![
            binary("heliograph").parent().context("where the binary is")?.to_owned(),
            Path::new(python()?.get_program()).parent().context("where python is")?.to_owned(),
            buf()?.parent().context("where buf is")?.to_owned(),
        ];
        path.extend(std::env::split_paths(&std::env::var_os("PATH").context("PATH")?));
        let path = std::env::join_paths(path)?.into_string().ok().context("PATH")?;
        Ok(Self { up: Installation::start(on, &data_dir.join("data"))?, home, path })
    }

    /// Runs a block in the shell that the block before it left.
    fn run(&self, block: &str) -> anyhow::Result<String> {
        // What was sent is stored a moment later.
        if block.contains("heliograph readings") {
            self.up.audit(&[])?;
        }
        let block = block.replace(GATEWAY, &self.up.gateway);
        let output = Command::new("sh")
            .args(["-euc", &format!(". ./state\n{block}\nexport -p >state")])
            .current_dir(&self.home)
            .env("PATH", &self.path)
            .env("HELIOGRAPH_DATA_DIR", &self.up.data_dir)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .output()?;
        let printed = String::from_utf8(output.stdout)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}\n{block}\n{printed}{said}", output.status);
        Ok(printed)
    }

    /// Runs the blocks from first to last and returns what each shell block printed.
    fn follow(&self, blocks: &[Block]) -> anyhow::Result<Vec<String>> {
        let mut printed = Vec::new();
        for block in blocks {
            match block.language.as_str() {
                "sh" => printed.push(self.run(&block.text)?),
                "text" => {
                    let printed = printed.last().context("nothing was run before this")?;
                    ensure!(is_as_shown(printed, &block.text), "{printed}not as {}", block.text);
                }
                "python" => {
                    let name = block.text.lines().next().and_then(|line| line.strip_prefix("# "));
                    fs::write(
                        self.home.join(name.context("a first line # NAME.py")?),
                        &block.text,
                    )?;
                }
                "toml" => ensure!(
                    block.text == fs::read_to_string(telegraf_conf())?,
                    "not the configuration of the recorded requests"
                ),
                other => bail!("a block of {other:?}: neither run nor compared"),
            }
        }
        Ok(printed)
    }

    /// What is stored of roof-7 on the day of the document: device, metric, values.
    async fn stored(&self) -> anyhow::Result<Vec<(String, String, Vec<f64>)>> {
        self.up.audit(&[])?;
        let request = QueryReadingsRequest {
            site_id: "roof-7".into(),
            start_ms: 1_759_622_400_000,
            end_ms: 1_759_622_400_000 + 86_400_000,
            step: Step::Raw.into(),
            ..Default::default()
        };
        let answer = self.up.queries().await?.query_readings(request).await?.into_inner();
        Ok(answer.series.into_iter().map(|s| (s.device, s.metric, s.values)).collect())
    }
}

/// The gRPC client of the page.
fn buf() -> anyhow::Result<PathBuf> {
    let output = Command::new("sh").arg(repository().join("scripts/fetch-buf.sh")).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().into())
}

fn telegraf_conf() -> PathBuf {
    repository().join("services/gateway/tests/fixtures/influx/telegraf-v2.conf")
}

async fn every_block_of_the_page_for_loggers_does_what_the_page_says(
    on: OnLog,
) -> anyhow::Result<()> {
    let dir = data_dir();
    let reader = Reader::new(on, dir.path())?;
    let page = blocks(&fs::read_to_string(repository().join("docs/loggers.md"))?);
    let of = |language: &str| page.iter().filter(|b| b.language == language).count();
    ensure!((of("sh"), of("python"), of("toml")) >= (8, 2, 1), "{page:?}");
    reader.follow(&page)?;

    let want = [
        ("inv-1", "ac_power", vec![48_200.0, 48_400.0]),
        ("inv-1", "operating_state", vec![4.0]),
        ("inv-2", "ac_power", vec![47_950.0, 48_199.5, 48_449.0]),
        ("inv-2", "operating_state", vec![4.0]),
        ("inv-3", "ac_power", vec![47_500.0]),
    ];
    let want = want.map(|(device, metric, values)| (device.into(), metric.into(), values));
    assert_eq!(reader.stored().await?, want);
    reader.up.stop()
}

/// `send.py` keeps what got a 503 and sends the same bytes again.
#[test]
fn the_uploader_of_the_page_keeps_what_got_no_2xx() -> anyhow::Result<()> {
    let dir = data_dir();
    let page = blocks(&fs::read_to_string(repository().join("docs/loggers.md"))?);
    let sender = page.iter().find(|b| b.text.starts_with("# send.py")).context("send.py")?;
    fs::write(dir.path().join("send.py"), &sender.text)?;
    fs::create_dir(dir.path().join("spool"))?;
    fs::write(dir.path().join("spool/1.json"), "{}")?;

    let recorder = repository().join("services/gateway/tests/fixtures/influx/record.py");
    let answers = ["503:0", "401"];
    let mut recorder = python()?
        .arg(recorder)
        .arg("seen")
        .args(answers)
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut url = String::new();
    let stdout = recorder.stdout.take().context("stdout")?;
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut url)?;
    let sent = python()?
        .arg("send.py")
        .current_dir(dir.path())
        .env("HELIOGRAPH_URL", url.trim())
        .env("HELIOGRAPH_SITE_TOKEN", "a token")
        .output();
    recorder.kill()?;
    recorder.wait()?;

    let said = String::from_utf8(sent?.stderr)?;
    ensure!(said.contains("401"), "{said}");
    let seen = |n: u8| fs::read(dir.path().join(format!("seen/{n:02}.http")));
    assert_eq!(seen(0)?, seen(1)?);
    ensure!(dir.path().join("spool/1.json").exists(), "a 401 is no reason to throw it away");
    Ok(())
}

async fn the_first_hour_of_the_readme_works(on: OnLog) -> anyhow::Result<()> {
    let dir = data_dir();
    let reader = Reader::new(on, dir.path())?;
    let readme = fs::read_to_string(repository().join("README.md"))?;
    let hour = readme.split("## The first hour").nth(1).context("the first hour")?;
    let block = blocks(hour).into_iter().next().context("its block")?;
    // It is built and running already.
    let done = |line: &str| line.starts_with("make ") || line.contains("heliograph up");
    let lines: Vec<&str> = block.text.lines().filter(|line| !done(line)).collect();
    ensure!(lines.len() + 2 == block.text.lines().count(), "{}", block.text);
    let at = lines.iter().position(|l| l.contains("heliograph readings")).context("readings")?;
    let run = |lines: &[&str]| {
        reader.run(&lines.join("\n").replace("target/debug/heliograph", "heliograph"))
    };
    let answer = run(&lines[..at])?;
    let shown = lines.iter().find_map(|line| line.strip_prefix("# {")).context("the answer")?;
    ensure!(is_as_shown(&answer, &format!("{{{shown}")), "{answer}");
    let table = run(&lines[at..])?;
    let table = table.replace(',', "");
    ensure!(["inv1", "ac_power", "1200"].iter().all(|part| table.contains(part)), "{table}");

    std::os::unix::fs::symlink(repository().join("sample-data"), reader.home.join("sample-data"))?;
    let block = blocks(hour).into_iter().nth(1).context("the block with a CSV file")?;
    let lines: Vec<&str> = block.text.lines().collect();
    let (last, lines) = lines.split_last().context("a line")?;
    let sent = run(lines)?;
    ensure!(sent.contains("\"INV1 AC Power [kW]\" is inv1/ac_power [kW]"), "{sent}");
    ensure!(sent.contains(" uploads, 0 left out"), "{sent}");
    let chart = run(&[last])?;
    ensure!(["inv1 ac_power", "W ┤"].iter().all(|part| chart.contains(part)), "{chart}");
    reader.up.stop()
}

#[test]
fn what_is_shown_may_leave_something_out() {
    for (text, shown, is) in [
        ("{\"id\":\"x\",\"n\":1}\n", "{\"id\":\"…\",\"n\":1}", true),
        ("{\"id\":\"x\",\"n\":2}", "{\"id\":\"…\",\"n\":1}", false),
        ("a b c", "a…c", true),
        ("a b c d", "a…c", false),
        ("b", "a", false),
        ("", "", true),
    ] {
        assert_eq!(is_as_shown(text, shown), is, "{text:?} as {shown:?}");
    }
}
