//! Draws the documents of a stored run without measuring anything: `cargo run --example draw -- RUN OUT`.
//!
//! The way to look at a change of the report on the reference runs while it is made.

use std::{
    env, fs,
    io::{self, Read as _},
    path::Path,
    time::Instant,
};

use flate2::read::GzDecoder;
use uplift_model::{ProfileTrial, Trial, run::Run};
use uplift_report::{
    ReportInput, build,
    render::{html, markdown, terminal},
};

fn lines<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<Vec<T>> {
    let packed = path.with_extension("jsonl.gz");
    let text = if path.exists() {
        fs::read_to_string(path)?
    } else if packed.exists() {
        let mut text = String::new();
        GzDecoder::new(fs::File::open(packed)?).read_to_string(&mut text)?;
        text
    } else {
        return Ok(Vec::new());
    };
    text.lines().map(|line| serde_json::from_str(line).map_err(io::Error::other)).collect()
}

fn main() -> io::Result<()> {
    let mut arguments = env::args().skip(1);
    let (Some(folder), Some(out)) = (arguments.next(), arguments.next()) else {
        return Err(io::Error::other("name a run and a folder for its documents"));
    };
    let (folder, out) = (Path::new(&folder), Path::new(&out));
    fs::create_dir_all(out)?;
    let run: Run = serde_json::from_slice(&fs::read(folder.join("run.json"))?).map_err(io::Error::other)?;
    let trials: Vec<Trial> = lines(&folder.join("trials.jsonl"))?;
    let profiles: Vec<ProfileTrial> = lines(&folder.join("profiles.jsonl"))?;
    let verdicts = uplift_analysis::judge(&run, &trials);
    let input = ReportInput { run: &run, trials: &trials, profiles: &profiles, verdicts: verdicts.as_ref() };
    let begun = Instant::now();
    let report = build::report(&input);
    let page = html::report(&input, &report);
    let took = begun.elapsed();
    fs::write(out.join("report.md"), markdown::document(&report.document))?;
    fs::write(out.join("report.html"), &page)?;
    fs::write(out.join("document.json"), report.document.json().map_err(io::Error::other)?)?;
    let style = terminal::Style { width: Some(80), ..terminal::Style::default() };
    fs::write(out.join("terminal.txt"), terminal::document(&build::document(&input), style))?;
    println!("{} trials, {} bytes of HTML, {:.2} s", trials.len(), page.len(), took.as_secs_f64());
    Ok(())
}
