//! The author's own markdown, the only one that is read here.

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html::push_html};

/// As markup of a page. Markup in it is shown as the text it is; links lead to the web or into the run's folder and run
/// nothing; its headings are paragraphs, since the page has its own.
pub fn story(text: &str) -> String {
    let mut markup = String::new();
    push_html(&mut markup, Parser::new_ext(text, Options::ENABLE_TABLES).map(safe));
    markup
}

fn safe(event: Event<'_>) -> Event<'_> {
    match event {
        Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
        Event::Start(Tag::Heading { .. }) => Event::Start(Tag::Paragraph),
        Event::End(TagEnd::Heading(_)) => Event::End(TagEnd::Paragraph),
        Event::Start(Tag::Image { link_type, dest_url, title, id } | Tag::Link { link_type, dest_url, title, id }) => {
            let scheme = dest_url.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
            let allowed = scheme.is_none_or(|scheme| matches!(scheme.as_str(), "http" | "https"));
            let dest_url = if allowed { dest_url } else { CowStr::Borrowed("#") };
            Event::Start(Tag::Link { link_type, dest_url, title, id })
        }
        Event::End(TagEnd::Image) => Event::End(TagEnd::Link),
        other => other,
    }
}
