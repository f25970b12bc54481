// The form to sign in.

import { signIn } from "./api.js";
import { h, newId, printable, set, write } from "./dom.js";

/**
 * Make the form.
 * @param {function()} done is called when the user has signed in.
 * @param {string} why what to say above it; empty: nothing.
 */
export function signInForm(done, why) {
  const user = h("input", { id: newId(), name: "username", autocomplete: "username", autocapitalize: "off", spellcheck: "false", "aria-required": "true" });
  const password = h("input", { id: newId(), type: "password", name: "password", autocomplete: "current-password", "aria-required": "true" });
  const wrong = h("p", { class: "wrong", role: "alert" });
  const send = h("button", { class: "primary" }, "Sign in");
  const submit = async (event) => {
    event.preventDefault();
    const missing = [user, password].find((input) => input.value === "");
    if (missing) {
      write(wrong, missing === user ? "Type your name." : "Type your password.");
      missing.focus();
      return;
    }
    write(wrong, "");
    if (send.hasAttribute("aria-disabled")) return;
    set(send, "aria-disabled", "true");
    try {
      await signIn(user.value, password.value);
      password.value = "";
      done();
    } catch (error) {
      write(wrong, printable(`Not signed in: ${error.message}.`));
      password.value = "";
      password.focus();
    } finally {
      set(send, "aria-disabled", null);
    }
  };
  const element = h("form", { class: "card signin", "aria-labelledby": "signin", onsubmit: submit, novalidate: true },
    h("h1", { id: "signin" }, "Sign in"),
    why ? h("p", {}, why) : null,
    h("div", { class: "field" }, h("label", { for: user.id }, "Name"), user),
    h("div", { class: "field" }, h("label", { for: password.id }, "Password"), password),
    wrong,
    h("div", { class: "actions" }, send));
  return { element, focus: () => user.focus() };
}
