//! From a workload to what clients do: requests, operations with weights, parameters, data, checks.

use uplift_sdk::SettingsError;

use crate::{
    driver::{self, Request},
    parameters::{Parameter, samplers},
    pgbench::{builtin, script::Script},
    reads::writes,
    settings::{CheckStep, LoadStep, Operation, Protocol, Workload},
};

/// A kind of operation.
#[derive(Clone, Debug)]
pub struct PlannedOperation {
    /// Its name.
    pub name: String,
    /// How often it is chosen.
    pub weight: f64,
    /// One of these is carried out, each as often as any other: the numbers of its requests in order.
    pub alternatives: Vec<Vec<usize>>,
    /// Numbers of the parameters in it.
    pub parameters: Vec<usize>,
    /// Whether it changes anything.
    pub writes: bool,
}

/// Everything that is asked.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the service speaks.
    pub protocol: Protocol,
    /// The parameters in order.
    pub parameters: Vec<(String, Parameter)>,
    /// Every request of every operation.
    pub requests: Vec<Request>,
    /// What clients choose from, where they do not run scripts.
    pub operations: Vec<PlannedOperation>,
    /// What clients choose from otherwise.
    pub scripts: Vec<Script>,
    /// Data that are loaded.
    pub load: Vec<LoadStep>,
    /// What is asked at the end.
    pub checks: Vec<(String, CheckStep)>,
}

impl Plan {
    /// Compiles a workload.
    ///
    /// # Errors
    /// The key that is wrong.
    pub fn compile(workload: &Workload) -> Result<Self, SettingsError> {
        let protocol = workload.protocol()?;
        let mut plan = Self {
            protocol,
            parameters: workload.parameters.clone().into_iter().collect(),
            requests: Vec::new(),
            operations: Vec::new(),
            scripts: Vec::new(),
            load: workload.load.clone(),
            checks: workload.checks.clone().into_iter().collect(),
        };
        for (name, operation) in &workload.operations {
            plan.add(name, operation, &[operation_requests(name, operation)])?;
        }
        if let Some(ycsb) = &workload.ycsb {
            ycsb.add_to(&mut plan)?;
        }
        if let Some(pgbench) = &workload.pgbench {
            plan.scripts = pgbench.compile()?;
            if pgbench.initialize {
                let step =
                    |send| LoadStep { send, body: None, headers: Default::default(), count: 1, leaves: Vec::new() };
                let own = std::mem::take(&mut plan.load);
                plan.load = builtin::initialize(pgbench.scale).into_iter().map(step).chain(own).collect();
            }
            // Without scripts it is TPC-B, the only one that adds the same everywhere.
            let balances =
                pgbench.initialize && pgbench.scripts.values().all(|rule| rule.builtin.as_deref() == Some("tpcb-like"));
            if balances {
                let expect = crate::expect::Expect { equals: Some("1".to_owned()), ..Default::default() };
                plan.checks.push(("balances".to_owned(), CheckStep { send: builtin::CHECK.to_owned(), expect }));
            }
        }
        samplers(&plan.parameters).map_err(|(name, message)| SettingsError {
            table: "workload",
            keys: vec!["parameters".into(), name],
            message,
        })?;
        let names = plan.load_names();
        let load: Vec<Request> = plan.load.iter().map(load_request).collect();
        driver::check(protocol, &load, &names).map_err(|(index, message)| {
            SettingsError::new("workload", "load", format!("step {}: {message}", index + 1))
        })?;
        for (name, check) in &plan.checks {
            driver::check(protocol, &[Request::plain(&check.send)], &[]).map_err(|(_, message)| SettingsError {
                table: "workload",
                keys: vec!["checks".into(), name.clone()],
                message,
            })?;
        }
        Ok(plan)
    }

    /// Adds an operation.
    ///
    /// # Errors
    /// A request that cannot be compiled.
    pub fn add(
        &mut self,
        name: &str,
        operation: &Operation,
        alternatives: &[Vec<Request>],
    ) -> Result<(), SettingsError> {
        let at = |message: String| SettingsError {
            table: "workload",
            keys: vec!["operations".into(), name.to_owned(), "send".into()],
            message,
        };
        let names = self.names();
        let mut parameters: Vec<usize> = Vec::new();
        let mut planned = Vec::new();
        for requests in alternatives {
            driver::check(self.protocol, requests, &names).map_err(|(_, message)| at(message))?;
            for request in requests {
                let texts =
                    [Some(&request.send), request.body.as_ref()].into_iter().flatten().chain(request.headers.values());
                for (number, parameter) in names.iter().enumerate() {
                    if texts.clone().any(|text| text.contains(&format!("{{{parameter}}}")))
                        && !parameters.contains(&number)
                    {
                        parameters.push(number);
                    }
                }
            }
            // Names of what is loaded as well: both are read back by the same requests.
            let read = requests.iter().flat_map(|request| &request.leaves).flat_map(|leaves| leaves.texts());
            for text in read {
                crate::template::Template::compile(text, &self.load_names()).map_err(at)?;
            }
            planned.push((self.requests.len()..self.requests.len() + requests.len()).collect());
            self.requests.extend(requests.iter().cloned());
        }
        // In order, so that equal seeds make equal draws.
        parameters.sort_unstable();
        let writes =
            operation.writes.unwrap_or_else(|| alternatives.iter().flatten().any(|request| writes(&request.send)));
        self.operations.push(PlannedOperation {
            name: name.to_owned(),
            weight: operation.weight,
            alternatives: planned,
            parameters,
            writes,
        });
        Ok(())
    }

    /// Names of the parameters.
    pub fn names(&self) -> Vec<String> {
        self.parameters.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Names that data may use: `n` before the parameters.
    pub fn load_names(&self) -> Vec<String> {
        std::iter::once("n".to_owned()).chain(self.names()).collect()
    }

    /// The kinds of operation: name, and whether it changes anything.
    pub fn kinds(&self) -> Vec<(String, bool)> {
        let operations = self.operations.iter().map(|operation| (operation.name.clone(), operation.writes));
        operations.chain(self.scripts.iter().map(|script| (script.name.clone(), script.writes()))).collect()
    }
}

/// The requests that an operation of a scenario is.
fn operation_requests(name: &str, operation: &Operation) -> Vec<Request> {
    std::iter::once(&operation.send)
        .chain(&operation.then)
        .map(|send| Request {
            name: name.to_owned(),
            send: send.clone(),
            body: operation.body.clone(),
            headers: operation.headers.clone(),
            expect: operation.expect.clone(),
            leaves: operation.leaves.clone(),
        })
        .collect()
}

/// The request of a step that loads data.
pub fn load_request(step: &LoadStep) -> Request {
    Request {
        name: "load".to_owned(),
        send: step.send.clone(),
        body: step.body.clone(),
        headers: step.headers.clone(),
        leaves: step.leaves.clone(),
        ..Request::default()
    }
}
