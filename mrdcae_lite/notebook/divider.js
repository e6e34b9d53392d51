this.parentNode.style.setProperty('--cut', this.value + '%');
this.setAttribute('aria-valuetext', this.value + ' % from the left')
