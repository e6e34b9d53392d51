const figure = this.closest('figure'), rule = figure.querySelector('.mr-rule');
const text = figure.querySelectorAll('li')[this.value].textContent;
figure.querySelectorAll('img').forEach((picture, number) =>
  picture.style.visibility = number == this.value ? 'visible' : 'hidden');
rule?.setAttribute('transform', 'translate(' + this.value * this.dataset.step + ')');
figure.querySelector('output').textContent = text;
this.setAttribute('aria-valuetext', text)
