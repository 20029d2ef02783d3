//! Deploys the stacks of baselines beside the system under test.

use std::{fs, path::Path};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use tokio::process::Command;

use crate::context::Context;

/// A CloudFormation stack with functions of this package.
#[derive(Debug)]
pub struct BaselineStack<'a> {
    pub name: &'a str,
    pub template: &'a str,
    /// Name and content of other files in the folder of the template.
    pub files: &'a [(&'a str, &'a str)],
    /// The functions' executables. The template refers to folders with these names.
    pub executables: &'a [&'a str],
    /// Values of the template's parameters, besides `Architecture`.
    pub parameters: &'a [(&'a str, &'a str)],
}

impl BaselineStack<'_> {
    /// # Errors
    /// Fails when an executable was not built or the deployment fails.
    pub async fn deploy(&self, context: &Context) -> anyhow::Result<()> {
        let deploy_dir = TempDir::new()?;
        let template = deploy_dir.path().join("template.yaml");
        fs::write(&template, self.template)?;
        for (name, content) in self.files {
            fs::write(deploy_dir.path().join(name), content)?;
        }
        for function in self.executables {
            let folder = deploy_dir.path().join(function);
            fs::create_dir(&folder)?;
            fs::copy(context.executable(function), folder.join("bootstrap"))
                .with_context(|| format!("{function} was not built"))?;
        }
        let packaged = deploy_dir.path().join("packaged.yaml");
        let bucket = format!("bench-{}", self.name);
        awslocal(&["s3", "mb", &format!("s3://{bucket}")]).await?;
        awslocal(&[
            "cloudformation",
            "package",
            "--template-file",
            path_as_str(&template)?,
            "--s3-bucket",
            &bucket,
            "--output-template-file",
            path_as_str(&packaged)?,
        ])
        .await?;
        let architecture = if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "x86_64"
        };
        let parameters = [("Architecture", architecture)]
            .iter()
            .chain(self.parameters)
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>();
        let mut deploy = vec![
            "cloudformation",
            "deploy",
            "--stack-name",
            self.name,
            "--template-file",
            path_as_str(&packaged)?,
            "--capabilities",
            "CAPABILITY_IAM",
            "CAPABILITY_AUTO_EXPAND",
            "--parameter-overrides",
        ];
        deploy.extend(parameters.iter().map(String::as_str));
        awslocal(&deploy).await
    }
}

/// Runs the command `awslocal`. The error contains its standard error.
async fn awslocal(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("awslocal")
        .args(arguments)
        .output()
        .await
        .context("cannot run awslocal")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "awslocal {} failed: {stderr}",
        arguments.join(" ")
    );
    Ok(())
}

fn path_as_str(path: &Path) -> anyhow::Result<&str> {
    path.to_str()
        .context("the path of the temporary folder is not valid UTF-8")
}
