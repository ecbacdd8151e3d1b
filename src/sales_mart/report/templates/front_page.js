// Shows what is chosen at once, and leaves out of the address what is not.
const form = document.querySelector(".choices");
form.addEventListener("change", () => form.requestSubmit());
form.addEventListener("formdata", (event) => {
  for (const [name, value] of [...event.formData]) {
    if (!value) event.formData.delete(name);
  }
});
