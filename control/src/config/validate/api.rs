//! `api`: that somebody may use it, and nobody is listed twice.

use std::collections::HashMap;

use super::Check;

impl Check<'_> {
    pub(super) fn api(&mut self) {
        let Some(api) = &self.config.api else { return };
        if api.clients.is_empty() && !self.left_out.contains_key("api.clients") {
            let fix = "add who may, such as {name: noc.example.com, role: read, tenants: all}";
            self.warn("api", "has no clients: nobody may ask anything", fix);
        }
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for (i, client) in api.clients.iter().enumerate() {
            if let Some(first) = seen.insert(&client.name, i) {
                let (path, first) = (self.item("api.clients", i), self.item("api.clients", first));
                let message = format!("{} is also {first}", client.name);
                self.error(&path, message, "write one entry for each name");
            }
        }
    }
}
